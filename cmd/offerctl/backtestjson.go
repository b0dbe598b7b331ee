package main

import (
	"encoding/json"
	"io"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/value"
)

// A backtestObject is the JSON of a backtest.
type backtestObject struct {
	Events     uint64                     `json:"events"` // including duplicates
	Users      uint64                     `json:"users"`
	Duplicates uint64                     `json:"duplicates"`
	Rejected   map[string]uint64          `json:"rejected"` // by reason
	Campaigns  map[string]*campaignObject `json:"campaigns"`
	Features   featuresObject             `json:"features"`
	Lines      uint64                     `json:"lines"`
	TableRows  uint64                     `json:"table_rows,omitempty"`
	Set        string                     `json:"set"`
	Warnings   []string                   `json:"warnings,omitempty"`
	From       string                     `json:"from,omitempty"` // log time
	To         string                     `json:"to,omitempty"`
	Compare    *compareObject             `json:"compare,omitempty"`
}

// A campaignObject is a campaign with all its rows, or a row. Evaluations are fired +
// withheld + all of suppressed + cancelled + superseded + pending.
type campaignObject struct {
	Evaluations  uint64                     `json:"evaluations"`
	Fired        uint64                     `json:"fired"`
	Withheld     uint64                     `json:"withheld"`
	Suppressed   map[string]uint64          `json:"suppressed"` // by outcome, those that occurred
	Cancelled    uint64                     `json:"cancelled"`
	Superseded   uint64                     `json:"superseded"`
	Pending      uint64                     `json:"pending"`
	UsersReached *int                       `json:"users_reached,omitempty"` // not of a row
	Missing      uint64                     `json:"missing_fields"`
	Errors       uint64                     `json:"errors"`
	Bounds       uint64                     `json:"bounds"`
	Failures     []failureObject            `json:"failures,omitempty"`
	Rows         map[string]*campaignObject `json:"rows,omitempty"`
}

// featuresObject holds what the features could not read.
type featuresObject struct {
	Missing  uint64          `json:"missing_fields"`
	Errors   uint64          `json:"errors"`
	Bounds   uint64          `json:"bounds"`
	Failures []failureObject `json:"failures,omitempty"`
}

type failureObject struct {
	Place string `json:"place"`
	Text  string `json:"text"`
	Error string `json:"error"`
	Times uint64 `json:"times"`
}

// A compareObject is what would change with the other campaigns.
type compareObject struct {
	Path      string                     `json:"path"`
	Set       string                     `json:"set"`
	Users     uint64                     `json:"users"`
	Campaigns map[string]*campaignObject `json:"campaigns"` // of the other set
	All       *changeObject              `json:"all"`
	Changes   map[string]*changeObject   `json:"changes"` // of the campaigns of both sets
}

type changeObject struct {
	OnlyIn  string        `json:"only_in,omitempty"` // this or other
	Same    uint64        `json:"same"`
	Changed uint64        `json:"changed"` // of the same: with other content
	Moved   uint64        `json:"moved"`
	Gained  uint64        `json:"gained"`
	Lost    uint64        `json:"lost"`
	Users   overlapObject `json:"users_reached"`
}

type overlapObject struct {
	This  uint64 `json:"this"`
	Other uint64 `json:"other"`
	Both  uint64 `json:"both"`
}

func (s *backtestSummary) writeJSON(w io.Writer) error {
	o := &backtestObject{
		Events: s.Events, Users: s.Users, Duplicates: s.Duplicates, Rejected: s.Rejected, Campaigns: campaignObjects(s.Result),
		Features: featuresObject{s.Features.Missing, s.Features.Errors, s.Features.Bounds, failureObjects(s.Failures)},
		Lines:    s.Lines, TableRows: s.Loaded, Set: s.Set, Warnings: s.warnings(),
	}
	if s.Events > 0 {
		o.From, o.To = value.FormatTime(s.First), value.FormatTime(s.end())
	}
	if s.change != nil {
		o.Compare = &compareObject{
			Path: s.run.compare, Set: s.other.Set, Users: s.other.Users, Campaigns: campaignObjects(s.other.Result),
			All: changeObjectOf(&s.change.All), Changes: map[string]*changeObject{},
		}
		for id, c := range s.change.Campaigns {
			o.Compare.Changes[id] = changeObjectOf(c)
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(o)
}

func campaignObjects(res *backtest.Result) map[string]*campaignObject {
	all := map[string]*campaignObject{}
	for id, c := range res.Campaigns {
		o, users := campaignObjectOf(&c.Counts), len(c.Users)
		o.UsersReached, o.Failures = &users, failureObjects(c.Failures)
		for unit, n := range c.Rows {
			if o.Rows == nil {
				o.Rows = map[string]*campaignObject{}
			}
			_, row, _ := strings.Cut(unit, "/")
			o.Rows[row] = campaignObjectOf(&n)
		}
		all[id] = o
	}
	return all
}

func campaignObjectOf(n *pipeline.Counts) *campaignObject {
	o := &campaignObject{
		Evaluations: n.Evaluated, Fired: n.Ended[pipeline.Fired], Withheld: n.Ended[pipeline.Withheld], Suppressed: map[string]uint64{},
		Cancelled: n.Ended[pipeline.Cancelled], Superseded: n.Ended[pipeline.Superseded], Pending: n.Pending(),
		Missing: n.Missing, Errors: n.Errors, Bounds: n.Bounds,
	}
	for _, out := range pipeline.Outcomes() {
		if out.Suppressed() && n.Ended[out] > 0 {
			o.Suppressed[out.Word()] = n.Ended[out]
		}
	}
	return o
}

func failureObjects(failures []backtest.Failure) (all []failureObject) {
	for _, f := range failures {
		all = append(all, failureObject{f.Place, f.Text, f.Error, f.N})
	}
	return all
}

func changeObjectOf(c *backtest.Change) *changeObject {
	o := &changeObject{
		Same: c.Same, Changed: c.Changed, Moved: c.Moved, Gained: c.Gained, Lost: c.Lost,
		Users: overlapObject{c.Users, c.OtherUsers, c.BothUsers},
	}
	switch {
	case c.OnlyThis:
		o.OnlyIn = "this"
	case c.OnlyOther:
		o.OnlyIn = "other"
	}
	return o
}
