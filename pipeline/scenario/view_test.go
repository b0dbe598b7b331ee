package scenario

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

// TestReadView reads lines of views.
func TestReadView(t *testing.T) {
	at := func(clock string) int64 {
		ns, wrong := (&Clock{Day: DefaultDay}).Moment(clock)
		if wrong != nil {
			t.Fatal(wrong)
		}
		return ns
	}
	for text, want := range map[string]View{
		`10:10:00 item product/p1 viewers=11 price=1.50`: {Timed: true, Time: at("10:10:00"), Kind: "product", ID: "p1", Values: []ViewValue{{Name: "viewers", Is: "11"}, {Name: "price", Is: "1.5"}}},
		` item product/"a b" x=null `:                    {Kind: "product", ID: "a b", Values: []ViewValue{{Name: "x", Is: "null"}}},
		`2026-01-02 10:00 ada x="a b"`:                   {Timed: true, Time: at("2026-01-02 10:00:00"), ID: "ada", Values: []ViewValue{{Name: "x", Is: `"a b"`}}},
		`2026-01-02T10:00:00Z ~a-1 x=10:00:00`:           {Timed: true, Time: at("2026-01-02 10:00:00"), ID: "a-1", Anonymous: true, Values: []ViewValue{{Name: "x", Is: `"10:00:00"`}}},
		`ada x[bag]=1 x["a ]\"b"]=2 x={"b": 1, "a":2}`:   {ID: "ada", Values: []ViewValue{{Name: "x", Key: "bag", Keyed: true, Is: "1"}, {Name: "x", Key: `a ]"b`, Keyed: true, Is: "2"}, {Name: "x", Is: `{"a":2,"b":1}`}}},
		`ada x.p50=30d y["a.b"].size=1`:                  {ID: "ada", Values: []ViewValue{{Name: "x", Member: "p50", Is: `"30d"`}, {Name: "y", Key: "a.b", Keyed: true, Member: "size", Is: "1"}}},
		`"item" x=1`:                                     {ID: "item", Values: []ViewValue{{Name: "x", Is: "1"}}},
		`"10:00:00" x=1`:                                 {ID: "10:00:00", Values: []ViewValue{{Name: "x", Is: "1"}}},
		`+821012345678 x=1`:                              {ID: "+821012345678", Values: []ViewValue{{Name: "x", Is: "1"}}},
		`541312140 x=1`:                                  {ID: "541312140", Values: []ViewValue{{Name: "x", Is: "1"}}},
		`10:00 budget gift/row left=3`:                   {Timed: true, Time: at("10:00:00"), Budget: "gift/row", Values: []ViewValue{{Name: "left", Is: "3"}}},
	} {
		got, wrong := ReadView(text, DefaultDay)
		if wrong != nil {
			t.Errorf("%s: %v", text, wrong)
			continue
		}
		if got.Text != text || text[got.At:][:1] == " " {
			t.Errorf("%s: the text is %q, at %d", text, got.Text, got.At)
		}
		for i, x := range got.Values {
			if canonical([]byte(text[x.from:x.to])) != x.Is && canonical(plainValue(text[x.from:x.to])) != x.Is {
				t.Errorf("%s: %s is at %q", text, x.Text(), text[x.from:x.to])
			}
			got.Values[i].At, got.Values[i].from, got.Values[i].to = 0, 0, 0
		}
		if got.Text, got.At = "", 0; !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nreads %+v\n want %+v", text, got, want)
		}
	}
}

// TestViewWith puts actual values where others were expected, and leaves those that are
// right as they are written.
func TestViewWith(t *testing.T) {
	day := Day{"2026-03-01", DefaultDay.Zone}
	for _, c := range []struct {
		text, want string
		seen       Seen
	}{
		{"ada a=1 b=2.50  c=x", "ada a=1 b=2.50  c=x", Seen{"1", "2.5", `"x"`}},
		{"ada a=1 b=2.50  c=x", `ada a=2 b=null  c="a b"`, Seen{"2", "null", `"a b"`}},
		{"ada at=10:00:00 at[x]=10:00", "ada at=10:00:00 at[x]=10:00", Seen{`"2026-03-01T10:00:00Z"`, `"2026-03-01T10:00:00Z"`}},
		{"ada at=10:00:01 b=1", `ada at="2026-03-02 10:00:00" b=10:00:00`, Seen{`"2026-03-02T10:00:00Z"`, `"2026-03-01T10:00:00Z"`}},
		{`ada at="2026-03-02 10:00:00"`, `ada at="2026-03-02 10:00:00"`, Seen{`"2026-03-02T10:00:00Z"`}},
		{"ada for=1m30s old=-1h", "ada for=1m30s old=-1h", Seen{`"90s"`, `"-3600s"`}},
		{"ada for=1m for[x]=90s", "ada for=90s for[x]=90s", Seen{`"90s"`, `"90s"`}},
		{"ada n=1", `ada n="1"`, Seen{`"1"`}},
		{`ada n={"a":1}`, `ada n=[{"a":2}]`, Seen{`[{"a":2}]`}},
	} {
		v, wrong := ReadView(c.text, day)
		if wrong != nil {
			t.Fatal(wrong)
		}
		got := v.With(c.seen, day)
		if got != c.want {
			t.Errorf("%s\nbecomes %s\n   want %s", c.text, got, c.want)
		}
		if v, wrong = ReadView(got, day); wrong != nil || v.With(c.seen, day) != got {
			t.Errorf("%s is not read back as what is stored: %v", got, wrong)
		}
	}
}

// TestViewsChangeNothing: a scenario of random events has the same offers and outcomes
// with views at any time as without.
func TestViewsChangeNothing(t *testing.T) {
	looked, due := 0, 0
	for seed := uint64(1); seed <= 40; seed++ {
		of := oracle.Random
		if seed%2 == 0 {
			of = oracle.RandomMixed
		}
		c := of(seed)
		def, err := campaign.ParseDefinition(c.Set)
		if err != nil {
			t.Fatal(err)
		}
		def.Clock = campaign.ClockEvent
		set, problems := pipeline.Compile(def)
		if len(problems) > 0 {
			t.Fatalf("seed %d: %v", seed, problems)
		}
		s := &Scenario{Set: set, Day: DefaultDay}
		for _, e := range c.Events {
			s.Events = append(s.Events, Event{JSON: e})
		}
		without, err := s.Run()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		times := s.logTimes()
		r := rand.New(rand.NewPCG(seed, 1))
		for i := range 30 {
			k := r.IntN(len(times) - 1)
			at := times[k]
			if gap := value.Minus(times[k+1], at); gap > 0 {
				at += r.Int64N(gap) // until the next event
			}
			if i%3 == 0 && len(without.Offers) > 0 { // just when an offer goes out
				at = without.Offers[r.IntN(len(without.Offers))].Time
				due++
			}
			s.Views = append(s.Views, View{Timed: i < 28, Time: at, ID: fmt.Sprint("u", i%4), Anonymous: i%2 == 0, Values: s.valuesOf("")})
			looked++
		}
		with, err := s.Run()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !slices.EqualFunc(with.Whole, without.Whole, sameOffer) {
			t.Errorf("seed %d: other offers: %d, without views %d", seed, len(with.Whole), len(without.Whole))
		}
		if !maps.EqualFunc(with.Outcomes, without.Outcomes, maps.Equal) || !maps.Equal(with.Rejected, without.Rejected) || with.Duplicates != without.Duplicates || !slices.Equal(with.Late, without.Late) {
			t.Errorf("seed %d: other outcomes", seed)
		}
		if len(with.Views) != len(s.Views) || slices.ContainsFunc(with.Views, func(s Seen) bool { return len(s) == 0 }) && len(s.Views[0].Values) > 0 {
			t.Errorf("seed %d: %d views of %d", seed, len(with.Views), len(s.Views))
		}
	}
	if looked < 500 || due < 100 {
		t.Errorf("%d views, %d of them when an offer went out", looked, due)
	}
}

// sameOffer compares what a sender gets of offers: the messages from which their grants
// come have other numbers where views have made ticks.
func sameOffer(a, b *pipeline.Offer) bool {
	x, errX := a.AppendJSON(nil)
	y, errY := b.AppendJSON(nil)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// logTimes is log time after each event, without those that are refused.
func (s *Scenario) logTimes() (all []int64) {
	var clock pipeline.EventClock
	var dec event.Decoder
	for _, e := range s.Events {
		if ev, err := dec.AdmitLine(e.JSON); err == nil && move(&clock, ev) {
			all = append(all, clock.Now)
		}
	}
	return all
}

// valuesOf are the features of a kind of items, or of users.
func (s *Scenario) valuesOf(kind string) (all []ViewValue) {
	for _, f := range s.Set.Definition().Features {
		if f.Per == kind {
			all = append(all, ViewValue{Name: f.Name, Is: "0"})
		}
	}
	return all
}
