package pipeline

// Counts are the outcomes of one campaign's evaluations. Every evaluation has
// one, or is pending (LANGUAGE.md, rule 13). Missing, Errors and Bounds are
// no outcomes: they say what was met on the way.
type Counts struct {
	Evaluated  uint64 `json:"evaluated"`
	Fired      uint64 `json:"fired"`
	Condition  uint64 `json:"condition"`
	Period     uint64 `json:"period"`
	Age        uint64 `json:"age"`
	Limit      uint64 `json:"limit"`
	Cap        uint64 `json:"cap"`
	Pause      uint64 `json:"pause"`
	Outranked  uint64 `json:"outranked"`
	Duplicate  uint64 `json:"duplicate"`
	Error      uint64 `json:"error"`
	Cancelled  uint64 `json:"cancelled"`
	Superseded uint64 `json:"superseded"`

	Missing uint64 `json:"missing_fields"` // expressions that failed on a missing field
	Errors  uint64 `json:"errors"`         // expressions that failed otherwise
	Bounds  uint64 `json:"bounds"`         // how often a bound was met
}

// Pending is how many evaluations still wait for their outcome, where the
// counts are of a whole log.
func (c *Counts) Pending() uint64 {
	return c.Evaluated - c.Fired - c.Condition - c.Period - c.Age - c.Limit - c.Cap - c.Pause - c.Outranked - c.Duplicate - c.Error - c.Cancelled - c.Superseded
}

// Outcomes lists counts by name, in one order, for people and metrics.
func (c *Counts) Outcomes() []struct {
	Name string
	N    uint64
} {
	out := []struct {
		Name string
		N    uint64
	}{
		{"fired", c.Fired}, {"condition", c.Condition}, {"period", c.Period}, {"age", c.Age}, {"limit", c.Limit}, {"cap", c.Cap},
		{"pause", c.Pause}, {"outranked", c.Outranked}, {"duplicate", c.Duplicate}, {"error", c.Error},
		{"cancelled", c.Cancelled}, {"superseded", c.Superseded},
	}
	return out
}

func (c *Counts) cancelled() { c.Cancelled++ }

func (c *Counts) superseded() { c.Superseded++ }

func (c *Counts) failed(err error) {
	if isMissing(err) {
		c.Missing++
	} else {
		c.Errors++
	}
}

// A tally is what a fold has counted, whatever sets were in force.
type tally struct {
	outcomes map[string]*Counts // by campaign, those that are gone too
	state    *Counts            // of features: Missing, Errors, Bounds
}

func newTally() *tally { return &tally{map[string]*Counts{}, &Counts{}} }

func (t *tally) of(campaign string) *Counts {
	n := t.outcomes[campaign]
	if n == nil {
		n = &Counts{}
		t.outcomes[campaign] = n
	}
	return n
}
