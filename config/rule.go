package config

import (
	"offerstream/pipeline/lazyregexp"
)

// A Rule is a kind of mistake. Its ID never changes: editors and CI refer to it.
type Rule struct {
	ID    string
	Level string // Error, Warning or Note
	About string // a sentence for those who see it for the first time

	says *lazyregexp.Regexp // the texts of its problems; nil: those who report it name it
}

// The levels of findings.
const (
	Error   = "error"
	Warning = "warning"
	Note    = "note"
)

// Rules are all kinds of mistakes.
func Rules() []Rule { return ruleTable }

// Of rules that match a text the first counts.
var ruleTable = []Rule{
	{"syntax", Error, "The file is not YAML of the kind that campaigns are written in.", says(`^this is not (YAML|CSV|UTF-8)|^this line is not UTF-8|reads as a |^the file (is empty|has \d+ bytes)|^a second document|^the (expression|text) (ends here|is cut)`)},
	{"unknown-key", Error, "A map has a key that the language does not know.", says(`is not a key of `)},
	{"duplicate", Error, "Something is defined twice.", says(`appears twice|is already (defined|the name|on line)|has another value at|is called .* as column`)},
	{"unknown-name", Error, "An expression reads a name that does not exist.", says(`^nothing (here )?is named|^there is no (kind of items|feature) |is not known here|^.* has no (field|function|name)|^there is no function`)},
	{"bad-name", Error, "A name has characters that it cannot have, or means something else.", says(`is not (a|the) .*name|means something else|is no identifier|is not the (id|name) of`)},
	{"consent", Error, "A set that advertises on a channel other than web must name consent for that channel and quiet hours, if only as none.", says(`^this advertises by `)},
	{"missing", Error, "A key or a value that is needed is not there.", says("needs `|^the value is missing|^the (expression|text|list|period) is empty|^the row has no|^no expression is named|^there is no column `")},
	{"type", Error, "A value or an expression has a type that does not fit.", says(`does not (take|apply)|is wanted|is not read by|, expected |^\S+ takes .*, this is|cannot be a key`)},
	{"file", Error, "A file that the set names cannot be read.", says(`^(open|reading) `)},

	{"coupon-url", Warning, "An offer shows coupon.url, and the set has no address of coupons.", says(`^coupon.url is the code alone`)},
	{"coupon-expires", Warning, "An offer shows coupon.expires, and nothing expires.", says(`^neither the coupon nor the offer expires`)},
	{"when-due-unused", Warning, "when_due is judged after a wait, and the campaign never waits.", says("so `when_due` is never judged")},
	{"short-hold", Warning, "What is held from the beginning of the quiet hours is given up before their end.", says(`^the quiet hours last`)},
	{"table", Warning, "A table is probably not read as it is meant.", says(`^the column .* is text, because|^there is no column for the field`)},

	{"never-holds", Warning, "A condition, or a part of it, can never hold.", nil},
	{"always-holds", Warning, "A condition, or a part of it, holds whatever happens.", nil},
	{"digits-as-text", Warning, "A condition compares with digits in quotes, which are a text.", nil},
	{"utc-time", Warning, "A condition reads the time in UTC, and the set has another zone.", nil},
	{"unused-feature", Warning, "No campaign reads the feature.", nil},
	{"unused-fact", Warning, "No campaign reads the fact.", nil},
	{"unused-let", Warning, "Nothing in the campaign reads the name.", nil},
	{"zone-unused", Warning, "The set names a time zone, and nothing in it reads the time of day.", nil},
	{"outranked", Warning, "Wherever the campaign could send, another one goes first.", nil},
	{"not-compared", Warning, "Two campaigns advertise on a channel and are never compared with each other, because one waits for an answer of an item.", nil},
	{"no-limit", Warning, "A campaign advertises on a channel that costs money or patience, and nothing limits how often.", nil},
	{"holdout-no-limit", Warning, "A campaign has a control group and no limits: its figures count triggers instead of users.", nil},
	{"limit-no-effect", Warning, "A limit is never reached, because another one is stricter.", nil},
	{"fresh-no-effect", Warning, "No event is ever as old as fresh allows.", nil},
	{"longer-than-forget", Warning, "A time is longer than the set remembers a user.", nil},
	{"forget-under-log", Warning, "Users or items are forgotten earlier than the log may forget their events.", nil},
	{"longer-than-log", Note, "A window is longer than the log keeps events (check --retention).", nil},
	{"event-name", Warning, "Two names of events in the set are so similar that they are probably meant to be one.", nil},
	{"channel-name", Warning, "A policy names a channel that no campaign uses, and that is similar to one that is used.", nil},
	{"brake-unused", Warning, "A brake is on a channel on which no campaign advertises.", nil},

	{"event-never-occurs", Warning, "No event of the sample has a name that the set names.", nil},
	{"property-never-occurs", Warning, "No event of the sample has a property or trait that the set reads.", nil},
	{"text-for-number", Warning, "Events of the sample have a text where the set wants a number.", nil},
	{"value-never-matches", Warning, "A value that the set compares with never occurs in the sample.", nil},
	{"condition-never-holds", Warning, "A condition never held in the sample.", nil},

	{"expression", Error, "An expression is wrong.", nil},
	{"value", Error, "A value is wrong.", nil},
}

func says(re string) *lazyregexp.Regexp { return lazyregexp.New(re) }

// ruleOf finds the rule of a problem by its text.
func ruleOf(p Problem, otherwise string) Rule {
	last := Rule{}
	for _, r := range ruleTable {
		if r.says != nil && r.says.MatchString(p.What) {
			return r
		}
		if r.ID == otherwise {
			last = r
		}
	}
	return last
}

func ruleNamed(id string) Rule {
	for _, r := range ruleTable {
		if r.ID == id {
			return r
		}
	}
	panic("config: there is no rule " + id)
}
