package scenario

import (
	"encoding/json"
	"fmt"
	"strings"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// A View is what must be stored of an item, a user, a campaign's budget or a pool of
// codes: at a log time, or where the scenario ends.
type View struct {
	Text string // the line

	Timed bool
	Time  int64 // if Timed; it must lie within Span

	At        int    // bytes of the line before what names the item, user, campaign or pool
	Budget    string // the campaign, with its row: name/row; "": it is of no budget
	Pool      string // its name; "": it is of no pool
	Kind      string // of the item; "": it is of no item, hence of a user if it is of none of these
	ID        string
	Anonymous bool // of the user

	Values []ViewValue // those that are compared
}

// A ViewValue is a value in a view: a feature, or what it has under a key, or a member
// of either, such as p50 of quantiles.
type ViewValue struct {
	Name     string
	Key      string // of a feature with `by`
	Keyed    bool   // there is a Key
	Member   string // "": all of it
	Is       string // canonical JSON
	At       int    // bytes of the line before the name
	from, to int    // the value in the line
}

// Text is the name with the key and the member, as in a line.
func (x ViewValue) Text() string {
	text := x.Name
	if x.Keyed {
		text += "[" + show(x.Key, "]'") + "]"
	}
	if x.Member != "" {
		text += "." + x.Member
	}
	return text
}

const viewHint = "write for example: 10:10:00 item product/p1 viewers=11, or without a time: ada views=3"

// ReadView reads a line of views: a time or none, what is looked at, and its values as
// pairs name=value, where name[key] is one key of a feature with `by`. What is looked
// at is a user; or the word item, the item's kind, / and its key; or the word budget and
// a campaign; or the word pool and its name.
func ReadView(text string, day Day) (v View, wrong *Mistake) {
	w := &words{text: text}
	v.Text = text
	if v.Timed, v.Time, wrong = viewTime(w, day); wrong != nil {
		return v, wrong
	}
	if wrong = v.of(w); wrong != nil {
		return v, wrong
	}
	for !w.done() {
		x, wrong := readViewValue(w)
		if wrong != nil {
			return v, wrong
		}
		for _, y := range v.Values {
			if x.Text() == y.Text() {
				return v, &Mistake{x.At, x.Text() + " appears twice", "keep one"}
			}
		}
		v.Values = append(v.Values, x)
	}
	if len(v.Values) == 0 {
		return v, &Mistake{w.at, "the view names no value", viewHint}
	}
	return v, nil
}

// viewTime reads the time of a view, if there is one. A user whose name looks like a
// time is written in quotes.
func viewTime(w *words, day Day) (timed bool, ns int64, wrong *Mistake) {
	if w.done() {
		return false, 0, &Mistake{w.at, "the line is empty", viewHint}
	}
	from := w.at
	first := w.plain().text
	w.at = from
	switch {
	case first[0] == '+':
		if _, err := campaign.ParseDuration(first[1:]); err == nil {
			return false, 0, &Mistake{from, fmt.Sprintf("the time of a view does not count from another line, as %s would", first), momentHint}
		}
		return false, 0, nil
	case first[0] < '0' || first[0] > '9' || !strings.Contains(first, ":") && !dateForm.MatchString(first):
		return false, 0, nil
	}
	ns, wrong = day.read(w, momentHint+`; a user of that name is in quotes`)
	return true, ns, wrong
}

// of reads what is looked at.
func (v *View) of(w *words) (wrong *Mistake) {
	w.done()
	v.At = w.at
	switch {
	case w.word("item"):
		v.Kind, v.ID, wrong = w.item(`write for example: item product/p1 viewers=11; a user of that name is "item", in quotes`)
		if wrong == nil {
			wrong = refused(v.At, event.CheckItem(v.ID))
		}
		return wrong
	case w.word("budget"):
		v.Budget, wrong = v.named(w, "campaign", `write for example: budget gift left=10; a user of that name is "budget", in quotes`)
		return wrong
	case w.word("pool"):
		v.Pool, wrong = v.named(w, "pool's name", `write for example: pool spring left=10; a user of that name is "pool", in quotes`)
		return wrong
	}
	if v.ID, v.Anonymous, wrong = user(w); wrong == nil {
		wrong = refused(v.At, event.CheckUser(v.ID))
	}
	return wrong
}

// named reads a name of the set.
func (v *View) named(w *words, what, hint string) (string, *Mistake) {
	w.done()
	v.At = w.at
	name := w.plain().text
	if name == "" || strings.ContainsAny(name, `="`) {
		return "", &Mistake{v.At, "the " + what + " is missing", hint}
	}
	return name, nil
}

// refused is the mistake of an id that the gateway would refuse.
func refused(at int, err error) *Mistake {
	if err == nil {
		return nil
	}
	return &Mistake{at, err.Error(), ""}
}

// readViewValue reads name=value, where a key in [ ] and a member after a dot may
// follow the name.
func readViewValue(w *words) (x ViewValue, wrong *Mistake) {
	x.At = w.at
	w.at += until(w.text[w.at:], space+"=[.")
	x.Name = w.text[x.At:w.at]
	if w.at < len(w.text) && w.text[w.at] == '[' {
		x.Keyed = true
		if x.Key, wrong = w.bracketed(); wrong != nil {
			return x, wrong
		}
	}
	ok := x.Name != ""
	if w.at < len(w.text) && w.text[w.at] == '.' {
		w.at++
		n := until(w.text[w.at:], space+"=")
		x.Member = w.text[w.at : w.at+n]
		w.at += n
		ok = ok && n > 0
	}
	if !ok || w.at == len(w.text) || w.text[w.at] != '=' {
		w.at += until(w.text[w.at:], space)
		return x, &Mistake{x.At, fmt.Sprintf("%q has no value", w.text[x.At:w.at]), "write name=value or name[key]=value, and several words in quotes"}
	}
	w.at++
	x.from = w.at
	is, wrong := w.value(x.Text())
	x.Is, x.to = canonical(is), w.at
	return x, wrong
}

// bracketed reads [key] or ["a key"].
func (w *words) bracketed() (key string, wrong *Mistake) {
	from := w.at
	w.at++
	if w.at < len(w.text) && w.text[w.at] == '"' {
		dec := json.NewDecoder(strings.NewReader(w.text[w.at:]))
		if dec.Decode(&key) != nil {
			return "", &Mistake{w.at, "the quote is not closed, or the text in it is not valid JSON", `end it with ", and write \" for a quote inside`}
		}
		w.at += int(dec.InputOffset())
	} else {
		at := w.at
		w.at += until(w.text[at:], space+"]")
		if key = w.text[at:w.at]; strings.ContainsAny(key, `'"`) {
			return "", &Mistake{at, fmt.Sprintf("the key %s has a quote in it", key), `write [bag], or ["two words"]`}
		}
	}
	if w.at == len(w.text) || w.text[w.at] != ']' {
		return "", &Mistake{from, "the key is not closed", `end it with ]; write a key of several words as ["two words"]`}
	}
	w.at++
	return key, nil
}
