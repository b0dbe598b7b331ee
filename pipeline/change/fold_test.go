package change

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

var (
	seed  = flag.Uint64("seed", 1, "the first seed of the random tests")
	seeds = flag.Int("seeds", 40, "how many seeds they run")
)

// A logged is a fold of events, under clock: event.
type logged struct {
	t     *testing.T
	f     *pipeline.Fold
	users pipeline.Memory
	seq   uint64
}

func newLogged(t *testing.T, set *pipeline.Set) *logged {
	l := &logged{t: t, users: pipeline.Memory{}}
	var err error
	l.f, err = pipeline.NewFold(pipeline.Cursor{Set: set.Hash()}, func(string) (*pipeline.Set, error) { return set, nil }, l.users)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *logged) event(line string) {
	l.t.Helper()
	l.seq++
	if err := l.f.Begin(pipeline.Message{Seq: l.seq, Stored: int64(l.seq), Kind: pipeline.In, Data: []byte(line)}); err != nil {
		l.t.Fatal(err)
	}
	for more := true; more; {
		var err error
		if more, err = l.f.Next(); err != nil {
			l.t.Fatal(err)
		}
	}
}

// copied is a fold of its own that continues from here. It fires no timers.
func (l *logged) copied(set *pipeline.Set) *logged {
	c := &logged{t: l.t, users: pipeline.Memory{}, seq: l.seq}
	for key, e := range l.users {
		if !e.Empty() {
			again, err := pipeline.DecodeEntity(key, e.AppendBinary(nil))
			if err != nil {
				l.t.Fatal(err)
			}
			c.users[key] = again
		}
	}
	var err error
	if c.f, err = pipeline.NewFold(l.f.Cursor(), func(string) (*pipeline.Set, error) { return set, nil }, c.users); err != nil {
		l.t.Fatal(err)
	}
	return c
}

// touch has an event of each user applied that does nothing, at the log time of the
// last event.
func (l *logged) touch() {
	l.t.Helper()
	_, _, now, _ := l.f.At()
	for _, key := range slices.Sorted(maps.Keys(l.users)) {
		who := map[byte]string{'u': "userId", 'a': "anonymousId"}[key[0]]
		if who != "" && key[1] == ':' {
			l.event(fmt.Sprintf(`{"type":"system","event":"Touched",%q:%q,"messageId":"touch %s","timestamp":%q}`, who, key[2:], key, value.FormatTime(now)))
		}
	}
}

func (l *logged) pending() map[string]uint64 {
	n := map[string]uint64{}
	l.users.Pending(func(unit, _ string, _ int64) { n[unit]++ })
	return n
}

// ended is how many evaluations have ended with an outcome, by unit.
func (l *logged) ended(how pipeline.Outcome) map[string]uint64 {
	n := map[string]uint64{}
	l.f.EachCount(func(unit string, c pipeline.Counts) { n[unit] = c.Ended[how] })
	return n
}

// A mutant makes definitions that differ a little.
type mutant struct {
	*rand.Rand
	other   *campaign.Definition // to take campaigns from
	waiting map[string]uint64    // by unit: these are changed more often than others
}

// of is a definition that differs in some places, and is valid.
func (m *mutant) of(t *testing.T, def *campaign.Definition) *pipeline.Set {
	for changes := 1 + m.IntN(8); changes > 0; changes /= 2 { // fewer, where they do not fit each other
		next, err := campaign.ParseDefinition(def.JSON())
		if err != nil {
			t.Fatal(err)
		}
		for range changes {
			m.once(next)
		}
		slices.SortFunc(next.Campaigns, func(a, b campaign.Campaign) int { return strings.Compare(a.ID, b.ID) })
		if set, problems := pipeline.Compile(next); len(problems) == 0 {
			return set
		}
	}
	return compile(t, def)
}

func (m *mutant) once(def *campaign.Definition) {
	if len(def.Features) > 0 && m.IntN(4) == 0 {
		i := m.IntN(len(def.Features))
		switch m.IntN(3) {
		case 0:
			def.Features = slices.Delete(def.Features, i, i+1)
		case 1:
			def.Features[i].Within += time.Hour
		default:
			def.Features[i].Where = "true"
		}
		return
	}
	if len(m.other.Campaigns) > 0 && m.IntN(6) == 0 {
		c := m.other.Campaigns[m.IntN(len(m.other.Campaigns))]
		c.ID += "x"
		if !slices.ContainsFunc(def.Campaigns, func(o campaign.Campaign) bool { return o.ID == c.ID }) {
			def.Campaigns = append(def.Campaigns, c)
		}
		return
	}
	if len(def.Campaigns) == 0 {
		return
	}
	i, kind, row := m.IntN(len(def.Campaigns)), m.IntN(13), -1
	if units := slices.Sorted(maps.Keys(m.waiting)); len(units) > 0 && m.IntN(2) == 0 {
		id, rowID, _ := strings.Cut(units[m.IntN(len(units))], "/")
		i = max(slices.IndexFunc(def.Campaigns, func(c campaign.Campaign) bool { return c.ID == id }), 0)
		if row = slices.IndexFunc(def.Campaigns[i].Rows, func(r campaign.Row) bool { return r.ID == rowID }); row >= 0 {
			kind = 10
		}
	}
	c := &def.Campaigns[i]
	switch kind {
	case 0:
		def.Campaigns = slices.Delete(def.Campaigns, i, i+1)
	case 1:
		c.If = append(c.If, "true")
	case 2:
		c.Priority++
	case 3:
		c.Offer.Data = json.RawMessage(`{"a":"{{ 1 + 1 }}"}`)
	case 4:
		c.Limits = append(c.Limits, campaign.Limit{Max: 3})
	case 5:
		if c.Unless != nil {
			c.Unless.Within += time.Minute
		}
	case 6:
		if c.At != nil {
			c.At.Ahead += time.Hour
		}
	case 7:
		if c.Sequence != nil {
			c.Sequence.Within += time.Minute
		}
	case 8:
		if len(c.Any) > 0 {
			c.Any[0].Where = "true"
		}
	case 9:
		if len(c.On) > 0 && c.On[0] != campaign.SessionEnd {
			c.Where = "true"
		}
	case 10, 11, 12:
		if len(c.Rows) == 0 {
			return
		}
		r := m.IntN(len(c.Rows))
		if row >= 0 {
			r = row
		}
		switch m.IntN(4) {
		case 0:
			c.Rows = slices.Delete(c.Rows, r, r+1)
		case 1:
			var values map[string]any
			_ = json.Unmarshal(c.Rows[r].Values, &values)
			values["zz"] = m.IntN(100)
			c.Rows[r].Values, _ = json.Marshal(values)
		case 2:
			var values map[string]any
			_ = json.Unmarshal(c.Rows[r].Values, &values)
			id := c.Rows[r].ID + "x"
			values["id"] = id
			b, _ := json.Marshal(values)
			if !slices.ContainsFunc(c.Rows, func(r campaign.Row) bool { return r.ID == id }) {
				c.Rows = append(c.Rows, campaign.Row{ID: id, Values: b})
			}
		default:
			c.Rows = nil
		}
	}
}

// TestCancels changes the set in the middle of a random log: evaluations that were
// pending end cancelled exactly where the change says that they do. The change back
// adds what this one takes away.
func TestCancels(t *testing.T) {
	t.Parallel()
	cancelled, stayed, byRow := 0, 0, 0
	for s := *seed; s < *seed+uint64(*seeds); s++ {
		c := oracle.Random(s)
		def, err := campaign.ParseDefinition(c.Set)
		if err != nil {
			t.Fatal(err)
		}
		other, err := campaign.ParseDefinition(oracle.Random(s + 1000).Set)
		if err != nil {
			t.Fatal(err)
		}
		def.Clock = campaign.ClockEvent
		old := compile(t, def)
		// To the event after which most units have something pending.
		l := newLogged(t, old)
		most, at := 0, 0
		for i, line := range c.Events {
			if l.event(string(line)); len(l.pending()) > most {
				most, at = len(l.pending()), i
			}
		}
		whole := newLogged(t, old)
		for _, line := range c.Events[:at+1] {
			whole.event(string(line))
		}
		for k := range uint64(3) {
			l := whole.copied(old)
			pending := l.pending()
			new := (&mutant{rand.New(rand.NewPCG(s, k)), other, pending}).of(t, def)
			change := Between(old, new, nil, day, 0)
			symmetric(t, &change, old, new)
			l.f.Use(new)
			l.touch()
			after := l.ended(pipeline.Cancelled)
			for unit, n := range pending {
				want := uint64(0)
				if change.CancelsUnit(unit) {
					want = n
					cancelled++
					i := slices.IndexFunc(change.Campaigns, func(c Campaign) bool { return c.ID == campaign.NameOf(unit) })
					if len(change.Campaigns[i].CancelledRows) > 0 {
						byRow++
					}
				} else {
					stayed++
				}
				if got := after[unit]; got != want {
					t.Errorf("%d of %d pending evaluations of %s are cancelled, the change says %d", got, n, unit, want)
				}
				if !old.MayWait(unit) {
					t.Errorf("%s waits, and is said never to", unit)
				}
			}
			if t.Failed() {
				t.Fatalf("seed %d: go test ./pipeline/change -run TestCancels -seeds=1 -seed=%d\n%s", s, s, strings.Join(change.Lines(), "\n"))
			}
		}
	}
	t.Logf("units with pending: %d cancelled, %d of them by row, %d stayed", cancelled, byRow, stayed)
	if *seeds >= 40 && (cancelled < 20 || stayed < 20 || byRow < 2) {
		t.Error("too few to say anything")
	}
}

// symmetric compares a change with the change back.
func symmetric(t *testing.T, c *Change, old, new *pipeline.Set) {
	t.Helper()
	back := Between(new, old, nil, day, 0)
	turned := map[string]string{Added: Gone, Gone: Added, New: Gone, Changed: Changed, Same: Same}
	if len(c.Campaigns) != len(back.Campaigns) || len(c.Features) != len(back.Features) {
		t.Fatalf("%d campaigns and %d features differ, back %d and %d", len(c.Campaigns), len(c.Features), len(back.Campaigns), len(back.Features))
	}
	values := func(id string, a, b []Value) {
		var turned []Value
		for _, v := range b {
			turned = append(turned, Value{Old: v.New, New: v.Old})
		}
		var plain []Value // without keys: that of what moves in a list is its new one
		for _, v := range a {
			plain = append(plain, Value{Old: v.Old, New: v.New})
		}
		order := func(v, w Value) int { return strings.Compare(v.Old+"\x00"+v.New, w.Old+"\x00"+w.New) }
		slices.SortFunc(turned, order)
		slices.SortFunc(plain, order)
		if !slices.Equal(plain, turned) {
			t.Errorf("%s: %v, back %v", id, a, b)
		}
	}
	values("set", c.Set, back.Set)
	for i, x := range c.Campaigns {
		y := back.Campaigns[i]
		if x.ID != y.ID || x.What == Changed && y.What != Changed || turned[x.What] != y.What {
			t.Errorf("%s is %s, back %s is %s", x.ID, x.What, y.ID, y.What)
		}
		if x.Rows != nil && (*x.Rows != Rows{y.Rows.Gone, y.Rows.Changed, y.Rows.Added}) {
			t.Errorf("%s: %v, back %v", x.ID, *x.Rows, *y.Rows)
		}
		if x.What == Changed {
			values(x.ID, x.Values, y.Values)
		}
		// What is new in one direction is cancelled in the other, but for rows that are
		// only gone.
		listed := slices.Contains(c.Backfill.Campaigns, x.ID)
		if y.Cancels != listed && x.What != Gone {
			t.Errorf("%s: cancels back %v, listed for a backfill %v", x.ID, y.Cancels, listed)
		}
	}
	for i, x := range c.Features {
		y := back.Features[i]
		is := turned[x.What]
		if x.What == Gone {
			is = New
		}
		if x.Name != y.Name || y.What != is {
			t.Errorf("%s is %s, back %s is %s", x.Name, x.What, y.Name, y.What)
		}
	}
}
