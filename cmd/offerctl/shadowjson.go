package main

import (
	"encoding/json"
	"io"

	"offerstream/pipeline/value"
)

// A shadowObject is the JSON of a shadow.
type shadowObject struct {
	Path      string                     `json:"path"`
	Set       string                     `json:"set"`
	LiveSet   string                     `json:"live_set"`
	Seconds   float64                    `json:"seconds"` // since the set began
	Events    uint64                     `json:"events"`
	Users     int                        `json:"users"` // that are followed
	Share     float64                    `json:"share"` // of all users
	From      string                     `json:"from,omitempty"`
	To        string                     `json:"to,omitempty"`
	Live      map[string]*campaignObject `json:"live"`
	Shadow    map[string]*campaignObject `json:"shadow"`
	All       *changeObject              `json:"all"` // this: the live set, other: the shadow's
	Changes   map[string]*changeObject   `json:"changes"`
	Examples  []shadowExample            `json:"examples"`
	Overdue   map[string]int             `json:"overdue"` // "campaign channel"
	CostRatio *float64                   `json:"cost_ratio"`
	Measured  uint64                     `json:"measured_events"`
	Notes     []string                   `json:"notes"`
}

// writeJSON writes one object.
func (c *shadowComparison) writeJSON(w io.Writer) error {
	st := &c.state
	o := &shadowObject{
		Path: c.run.path, Set: st.Set, LiveSet: st.LiveSet, Seconds: c.took.Seconds(), Events: st.Events, Users: st.Users, Share: st.Share,
		Live: campaignObjects(c.live), Shadow: campaignObjects(c.shadow), All: changeObjectOf(&c.change.All), Changes: map[string]*changeObject{},
		Examples: append([]shadowExample{}, c.examples...), Overdue: st.Overdue, Measured: st.Measured, Notes: append([]string{}, c.notes...),
	}
	if st.First != 0 {
		o.From, o.To = value.FormatTime(st.First), value.FormatTime(st.Last)
	}
	if times, ok := c.ratio(); ok {
		o.CostRatio = &times
	}
	for id, ch := range c.change.Campaigns {
		o.Changes[id] = changeObjectOf(ch)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(o)
}
