package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"
)

// A control is a decoded Control message, which a partition's owner appends to its
// log to carry out what operators want:
//
//	{"set": hash, "revision": n}                       the set is in force from here on
//	{"set": hash, "revision": n, "switch": {...}}      the same, by a backfill (switch.go)
//	{"paused": [id], "channels": [name], "resumed": {"channel sms": n}, "pauses": n}
//	                                                   these are paused, and no others
//
// Each has "engine", the engine that it asks for, and "at", the writer's stamp. A
// revision is the number of the record that is carried out. One that is not above
// the last that was carried out changes nothing but log time: nothing stale, late
// or repeated undoes anything. Messages before engine 4 have none.
type control struct {
	Engine   int               `json:"engine"`
	Revision uint64            `json:"revision"` // of the live set
	Pauses   uint64            `json:"pauses"`   // of what is paused
	Set      *string           `json:"set"`
	Switch   *Switch           `json:"switch"`
	Paused   *[]string         `json:"paused"`
	Channels []string          `json:"channels"`
	Resumed  map[string]uint64 `json:"resumed"` // by name: under which revision of what is paused it was last resumed

	set *Set  // that it puts in force; nil: none
	at  int64 // the writer's stamp; 0: none
}

// mostPaused bounds the campaigns and channels that can be paused at a time.
const mostPaused = 1000

func (f *Fold) readControl(data []byte) (*control, error) {
	c := &control{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, err
	}
	c.at, _ = readStamp(data)
	switch {
	case f.cur.Second:
		return &control{at: c.at}, nil // it moves log time
	case !runs(c.Engine, f.newest):
		return nil, fmt.Errorf("it asks for engine %d, this binary runs engine %s: run a binary that has it", c.Engine, engines(f.newest))
	case c.Paused != nil:
		return c, c.checkPaused()
	case c.Set == nil:
		return nil, fmt.Errorf("it names neither a set nor what is paused")
	case c.Revision > 0 && c.Revision <= f.cur.Revision:
		return c, nil
	}
	var err error
	if c.set, err = f.sets(*c.Set); err != nil {
		return c, err
	}
	if asks := c.set.def.Engine; asks > c.Engine || c.Revision == 0 && asks != c.Engine {
		return c, fmt.Errorf("it asks for engine %d, and for a set of engine %d: apply the campaigns again", c.Engine, asks)
	}
	if _, err = f.couponKey(c.set); err != nil || c.Switch == nil {
		return c, err
	}
	return c, c.Switch.check(c.set)
}

func (c *control) checkPaused() error {
	if n := len(*c.Paused) + len(c.Channels); n > mostPaused {
		return fmt.Errorf("%d campaigns and channels are paused, at most %d can be", n, mostPaused)
	}
	for _, names := range []*[]string{c.Paused, &c.Channels} {
		if slices.Contains(*names, "") {
			return fmt.Errorf("\"\" is not the id of a campaign, nor a channel")
		}
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	return nil
}

// carryOut ends a Control message.
func (f *Fold) carryOut(c *control) {
	switch {
	case c.Paused != nil:
		if c.Pauses == 0 || c.Pauses > f.cur.Pauses {
			f.pause(c)
		}
	case c.set != nil && c.Switch == nil:
		f.Use(c.set)
		f.cur.Revision = max(f.cur.Revision, c.Revision)
	}
}
