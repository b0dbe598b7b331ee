package pipeline

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

// clocked is a generated case under a clock, with its log in one partition. Under
// clock: broker the events' log times are the stored times of their messages.
func clocked(t *testing.T, s uint64, clock string) (*Set, []Message) {
	t.Helper()
	setJSON, events := oracle.Generate(s)
	events = apart(events)
	def, err := campaign.ParseDefinition(setJSON)
	if err != nil {
		t.Fatal(err)
	}
	def.Clock = clock
	log := packed(t, events, 1, rand.New(rand.NewPCG(s, 1)))[0]
	for i := range log {
		last := bytes.TrimRight(log[i].Data, "\n")
		last = last[bytes.LastIndexByte(last, '\n')+1:]
		at, err := value.ParseTime(fastjson.GetString(last, "logTime"))
		if err != nil {
			at, err = value.ParseTime(fastjson.GetString(last, "timestamp")) // of the clock event
		}
		if err != nil {
			t.Fatal(err)
		}
		log[i].Stored = at
		if i > 0 {
			log[i].Stored = max(at, log[i-1].Stored)
		}
	}
	return mustCompile(t, def), log
}

// refold folds a log. In each message it pauses at the times that come next in
// pauses.
func refold(t *testing.T, set *Set, log []Message, pauses []int64, prepare func(*Fold)) (offers []string) {
	t.Helper()
	f, err := NewFold(Cursor{Set: set.hash}, func(string) (*Set, error) { return set, nil }, Memory{})
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(f)
	}
	if len(pauses) > 0 {
		f.PauseAt(pauses[0])
	}
	for _, m := range log {
		if err := f.Begin(m); err != nil {
			t.Fatal(err)
		}
		for {
			more, err := f.Next()
			if err != nil {
				t.Fatal(err)
			}
			_, _, now, _ := f.At()
			for _, e := range f.Effects() {
				if e.Offer != nil {
					offers = append(offers, fmt.Sprint(e.Pos, asJSON(e.Offer)))
				}
			}
			if len(pauses) > 0 && now > pauses[0] {
				t.Fatalf("a step at %s, later than the pause at %s", value.FormatTime(now), value.FormatTime(pauses[0]))
			}
			if f.Stopped() {
				if due, ok := f.NextDue(); now != pauses[0] || ok && due <= now {
					t.Fatalf("it stopped at %s, where %s is due, the pause is at %s", value.FormatTime(now), value.FormatTime(due), value.FormatTime(pauses[0]))
				}
				if pauses = pauses[1:]; len(pauses) == 0 {
					f.PauseAt(endOfTime)
				} else {
					f.PauseAt(pauses[0])
				}
				continue
			}
			if !more {
				break
			}
		}
	}
	return offers
}

// TestPauseAt: a fold that pauses at any times gives what it gives without, and
// makes no step before its time.
func TestPauseAt(t *testing.T) {
	t.Parallel()
	for s := *seed; s < *seed+uint64(*seeds)/4; s++ {
		for _, clock := range []string{campaign.ClockBroker, campaign.ClockEvent} {
			set, log := clocked(t, s, clock)
			if len(log) == 0 {
				continue
			}
			first, last := log[0].Stored, log[len(log)-1].Stored
			rng := rand.New(rand.NewPCG(s, 2))
			var pauses []int64
			for range 40 {
				pauses = append(pauses, value.Plus(first, rng.Int64N(min(value.Minus(last, first), endOfTime-2)+2))-1)
			}
			for _, m := range log[:min(20, len(log))] {
				pauses = append(pauses, m.Stored, m.Stored-1)
			}
			slices.Sort(pauses)
			pauses = slices.DeleteFunc(slices.Compact(pauses), func(at int64) bool { return at <= 0 })
			want, got := refold(t, set, log, nil, nil), refold(t, set, log, pauses, nil)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, clock %s: with pauses\n%s\nwant\n%s", s, clock, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

// TestOnly: a fold of one user alone gives the user the offers that the fold of all
// gives.
func TestOnly(t *testing.T) {
	t.Parallel()
	compared := 0
	for s := *seed; s < *seed+uint64(*seeds)/4; s++ {
		for _, clock := range []string{campaign.ClockBroker, campaign.ClockEvent} {
			set, log := clocked(t, s, clock)
			keys := map[string]bool{}
			var dec event.Decoder
			for _, m := range log {
				for line := range bytes.Lines(m.Data) {
					if ev, err := dec.Decode(bytes.TrimSpace(line)); err == nil && ev.Type != event.Fact && ev.Type != event.Clock {
						keys[strings.Clone(ev.Key)] = true
					}
				}
			}
			all := refold(t, set, log, nil, nil)
			bare := func(offers []string, id string) (of []string) {
				for _, o := range offers {
					_, o, _ = strings.Cut(o, "}") // without its position
					if fastjson.GetString([]byte(o), "user") == id {
						of = append(of, o)
					}
				}
				return of
			}
			for _, key := range slices.Sorted(maps.Keys(keys)) {
				if keys["u:"+key[2:]] && keys["a:"+key[2:]] {
					continue // the offers do not say which
				}
				want, got := bare(all, key[2:]), bare(refold(t, set, log, nil, func(f *Fold) { f.Only(key) }), key[2:])
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, clock %s, %s alone:\n%s\nwant\n%s", s, clock, key, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				compared += len(want)
			}
		}
	}
	if compared == 0 {
		t.Error("no offer was compared")
	}
}

// TestSkippable: a pack is skipped only if no event in it is of the user, however
// the user's id is written.
func TestSkippable(t *testing.T) {
	def, err := campaign.ParseDefinition((&scene{campaigns: []string{sends("c", "", `"on":["page"]`)}}).set())
	if err != nil {
		t.Fatal(err)
	}
	def.Clock = campaign.ClockBroker
	set := mustCompile(t, def)
	for _, tc := range []struct {
		key, pack string
		skip      bool
	}{
		{"u:ada", `{"type":"page","userId":"bea"}`, true},
		{"u:ada", `{"type":"page","userId":"bea"}` + "\n" + `{"type":"page","userId":"ada"}`, false},
		{"u:ada", `{"type":"page","userId":"\u0061da"}`, false},
		{"u:a/b", `{"type":"page","userId":"a\/b"}`, false},
		{"u:ada", `{"type":"fact","fact":"weather","key":"seoul","values":{}}`, false},
		{"a:ada", `{"type":"page","anonymousId":"ada"}`, false},
		{"u:17", `{"type":"page","userId":17}`, false},
		{"u:17", `{"type":"page","userId":18}`, true},
		{"u:17", `{"type":"page","userId": 1.7e1}`, false},
		{"u:1700", `{"type":"page","userId":"x","anonymousId" : 1.7E3}`, false},
		{"u:1700", `{"type":"page","userId":"1.7","properties":{"price":1.7E3}}`, true},
		{"u:-5", `{"type":"page","userId":-5.0}`, false},
	} {
		f, err := NewFold(Cursor{Set: set.hash}, func(string) (*Set, error) { return set, nil }, Memory{})
		if err != nil {
			t.Fatal(err)
		}
		f.Only(tc.key)
		if got := f.skippable([]byte(tc.pack)); got != tc.skip {
			t.Errorf("%s, %s: skipped %v", tc.key, tc.pack, got)
		}
	}
}

// TestGiveTables: the rows of facts' tables are known from the message on at which they
// are given, under both clocks.
func TestGiveTables(t *testing.T) {
	for _, clock := range []string{campaign.ClockBroker, campaign.ClockEvent} {
		def, err := campaign.ParseDefinition((&scene{campaigns: []string{sends("c", "facts.stock[event.properties.p].left", `"on":["Go"]`)}}).set())
		if err != nil {
			t.Fatal(err)
		}
		def.Clock = clock
		def.Facts = []campaign.Fact{{Name: "stock", Fields: []campaign.FactField{{Name: "left", Type: campaign.FactNumber}}, MaxAge: 20e9,
			Rows: []campaign.Row{{ID: "bag", Values: []byte(`{"left":3}`)}, {ID: "hat", Values: []byte(`{"left":4}`)}}}}
		l := newLogged(t, mustCompile(t, def))
		given := Message{Seq: l.seq + 1, Stored: 100e9, Kind: In, Data: []byte(`{"type":"track","event":"Go","userId":"u","messageId":"1","timestamp":"1970-01-01T00:01:40Z","properties":{"p":"bag"}}`)}
		if err := l.f.Begin(given); err != nil {
			t.Fatal(err)
		}
		if rows, err := l.f.GiveTables(); err != nil || rows != 2 {
			t.Fatalf("%s: %d rows, %v", clock, rows, err)
		}
		for i, want := range []string{"3", "4", ""} { // the last one 20 seconds later
			if i > 0 {
				at := []int64{0, 119, 120}[i]
				next := Message{Seq: given.Seq + uint64(i), Stored: at * 1e9, Kind: In, Data: fmt.Appendf(nil, `{"type":"track","event":"Go","userId":"u","messageId":"%d","timestamp":%q,"properties":{"p":"hat"}}`, at, value.FormatTime(at*1e9))}
				if err := l.f.Begin(next); err != nil {
					t.Fatal(err)
				}
			}
			got := ""
			for more := true; more; {
				if more, err = l.f.Next(); err != nil {
					t.Fatal(err)
				}
				for _, e := range l.f.Effects() {
					got += string(e.Offer.Data)
				}
			}
			if got != want {
				t.Errorf("%s: the offer of event %d has %q, want %q", clock, i, got, want)
			}
		}
	}
}
