package pipeline

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

// TestPartitions checks that the offers do not depend on the number of
// partitions, on how events are packed, or on where a fold is stopped and
// resumed from its cursor and the records of its entities.
func TestPartitions(t *testing.T) {
	t.Parallel()
	for s := *seed; s < *seed+uint64(*seeds)/2; s++ {
		setJSON, events := oracle.Generate(s)
		events = apart(events)
		def, err := campaign.ParseDefinition(setJSON)
		if err != nil {
			t.Fatal(err)
		}
		def.Clock = campaign.ClockEvent
		set, problems := Compile(def)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		b, _ := NewBacktest(def)
		want := map[string]string{}
		b.fold.step.page = func(r *PageRecord) { want[r.Type+r.ID+r.Time] = string(r.JSON()) }
		for _, line := range events {
			if err := b.Line(line, func(o *Offer) { want[o.ID+o.Time] = asJSON(o) }); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range []int{1, 3, 8} {
			rng := rand.New(rand.NewPCG(s, uint64(p)))
			got := map[string]string{}
			for _, log := range packed(t, events, p, rng) {
				foldResumed(t, set, log, rng, got)
			}
			if !maps.Equal(got, want) {
				t.Fatalf("seed %d, %d partitions: %d offers, want %d\n%s", s, p, len(got), len(want), differ(got, want))
			}
		}
	}
}

// apart are the events without those that make a visitor a user: when a visitor's record
// reaches the user depends on the partitions, and until then it is no part of any state.
func apart(lines [][]byte) (all [][]byte) {
	var dec event.Decoder
	for _, l := range lines {
		if ev, err := dec.Decode(l); err == nil {
			if _, claims := ev.Claims(); claims {
				continue
			}
		}
		all = append(all, l)
	}
	return all
}

func differ(got, want map[string]string) string {
	var b bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(want)) {
		if got[id] != want[id] {
			fmt.Fprintf(&b, "want %s\n got %s\n", want[id], got[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		if want[id] == "" {
			fmt.Fprintf(&b, "too many: %s\n", got[id])
		}
	}
	return b.String()
}

// packed writes log times into the events as replay does, distributes the
// events over p partitions, and packs them at random. A clock event ends each
// log.
func packed(t *testing.T, events [][]byte, p int, rng *rand.Rand) [][]Message {
	logs := make([][]Message, p)
	packs := make([][]byte, p)
	flush := func(i int) {
		if len(packs[i]) > 0 {
			seq := uint64(len(logs[i]) + 1)
			logs[i] = append(logs[i], Message{Seq: seq, Stored: int64(1e18) + int64(seq), Kind: In, Data: packs[i]})
			packs[i] = nil
		}
	}
	var dec event.Decoder
	now, begun := int64(math.MinInt64), false
	for _, raw := range events {
		ev, err := dec.Admit(raw, 0)
		if err != nil || !ev.HasTimestamp && !begun {
			continue
		}
		if ev.HasTimestamp {
			now, begun = max(now, ev.Timestamp), true
		}
		if ev.Type == event.Clock {
			continue
		}
		first, last := event.Partition(ev.Key, p), event.Partition(ev.Key, p)
		if ev.Type == event.Fact { // which every partition gets
			first, last = 0, p-1
		}
		head := fmt.Sprintf(`{"logTime":%q,"messageId":%s,`, value.FormatTime(now), value.AppendJSONString(nil, ev.ID))
		for i := first; i <= last; i++ {
			packs[i] = append(append(append(packs[i], head...), bytes.ReplaceAll(bytes.TrimSpace(raw)[1:], []byte("\n"), []byte(" "))...), '\n')
			if rng.IntN(4) == 0 {
				flush(i)
			}
		}
	}
	for i := range logs {
		flush(i)
		if begun {
			packs[i] = fmt.Appendf(nil, `{"type":"clock","timestamp":%q}`, value.FormatTime(now))
			flush(i)
		}
	}
	return logs
}

// foldResumed folds a log, stopping and resuming at random between steps, and
// checks that the positions on every chain have no gaps.
func foldResumed(t *testing.T, set *Set, log []Message, rng *rand.Rand, offers map[string]string) {
	users := Memory{}
	sets := func(string) (*Set, error) { return set, nil }
	f, err := NewFold(Cursor{Set: set.Hash()}, sets, users)
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]Position{}
	for _, m := range log {
		if err := f.Begin(m); err != nil {
			t.Fatal(err)
		}
		for {
			more, err := f.Next()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range f.Effects() {
				checkPosition(t, e, m, last)
				if e.Page != nil {
					offers[e.Page.Type+e.Page.ID+e.Page.Time] = string(e.Page.JSON())
					continue
				}
				if e.Offer == nil {
					t.Fatalf("a dead letter: %+v", e.Dead)
				}
				id := e.Offer.ID + e.Offer.Time // a forgotten user may get the same offer again, later
				if offers[id] != "" {
					t.Fatalf("offer %s came twice", id)
				}
				offers[id] = asJSON(e.Offer)
			}
			if !more {
				break
			}
			if rng.IntN(20) != 0 {
				continue
			}
			f, users = resumed(t, f, sets, users)
			if err := f.Begin(m); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkPosition checks the position of an effect against the last position on its
// chain, in last, which it updates.
func checkPosition(t *testing.T, e Effect, m Message, last map[string]Position) {
	t.Helper()
	l := last[e.Chain]
	if e.Pos.N != l.N+1 || e.Pos.S != m.Seq || e.Pos.T != m.Stored || (e.Pos.S == l.S && e.Pos.K != l.K+1) || (e.Pos.S != l.S && e.Pos.K != 0) {
		t.Fatalf("%s: %+v follows %+v", e.Chain, e.Pos, l)
	}
	last[e.Chain] = e.Pos
}

// resumed makes a fold from the cursor of f and the records of its entities.
func resumed(t *testing.T, f *Fold, sets func(string) (*Set, error), users Memory) (*Fold, Memory) {
	t.Helper()
	decoded := Memory{}
	for key, e := range users {
		var err error
		if decoded[key], err = DecodeEntity(key, e.AppendBinary(nil)); err != nil {
			t.Fatal(err)
		}
	}
	again, err := NewFold(f.Cursor(), sets, decoded)
	if err != nil {
		t.Fatal(err)
	}
	for key, e := range decoded {
		if e.Due() != NoDue {
			again.Schedule(e.Due(), key)
		}
	}
	return again, decoded
}
