package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/campaign"
)

// poisonSet is a set with two campaigns: one sends an offer at each view, one a
// minute after each view; both with the number of views.
func poisonSet(t *testing.T) *Set {
	t.Helper()
	offer := func(channel string) campaign.OfferSpec {
		return campaign.OfferSpec{Channel: channel, Kind: campaign.Advertising, Data: []byte(`{"n":"{{ seen }}"}`)}
	}
	set, problems := Compile(&campaign.Definition{
		Engine: Engine, Clock: campaign.ClockEvent, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds,
		Features: []campaign.Feature{{Name: "seen", On: []string{"View"}, Agg: "count"}},
		Campaigns: []campaign.Campaign{
			{ID: "later", On: []string{"View"}, Unless: &campaign.Unless{On: []string{"Stop"}, Match: "p", Within: time.Minute}, Offer: offer("push")},
			{ID: "now", On: []string{"View"}, Offer: offer("web")},
		},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

// poisoned folds lines as a worker does: it begins anew after each step that
// panics. A step panics if it sends an offer on channel because of the event
// boom.
func poisoned(t *testing.T, set *Set, lines []string, channel string) (offers, dead []string) {
	t.Helper()
	var guarded []StepID
	for {
		f, err := NewFold(Cursor{Set: set.Hash()}, func(string) (*Set, error) { return set, nil }, Memory{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range guarded {
			f.Guard(s)
		}
		f.step.out = func(o *Offer) {
			f.offer(o)
			if o.Event == "boom" && o.Channel == channel {
				panic("bang")
			}
		}
		offers, dead, err = poisonedOnce(f, lines)
		if err == nil {
			f.conserved(t)
			return offers, dead
		}
		if !errors.Is(err, errBang) || slices.Contains(guarded, f.StepID()) {
			t.Fatal(err)
		}
		guarded = append(guarded, f.StepID())
	}
}

// conserved checks that every evaluation either has an outcome or is pending.
func (f *Fold) conserved(t *testing.T) {
	t.Helper()
	waiting := map[string]uint64{}
	for _, e := range f.ents.(Memory) {
		for _, w := range e.waiting {
			waiting[w.campaign]++
		}
	}
	counts, _ := f.Counts()
	for id, c := range counts {
		if c.Pending() != waiting[id] {
			t.Errorf("%s: %d evaluations have no outcome, %d are pending: %+v", id, int64(c.Pending()), waiting[id], c)
		}
	}
}

var errBang = errors.New("panicked")

func poisonedOnce(f *Fold, lines []string) (offers, dead []string, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", errBang, cause)
		}
	}()
	last := map[string]uint64{}
	for i, l := range lines {
		if err := f.Begin(Message{Seq: uint64(i + 1), Kind: In, Data: []byte(l)}); err != nil {
			return nil, nil, err
		}
		for {
			more, err := f.Next()
			if err != nil {
				return nil, nil, err
			}
			for _, e := range f.Effects() {
				if last[e.Chain]++; e.Pos.N != last[e.Chain] {
					return nil, nil, fmt.Errorf("record %d of %s, want record %d", e.Pos.N, e.Chain, last[e.Chain])
				}
				if e.Dead != nil {
					dead = append(dead, fmt.Sprintf("%s %s: %s", e.Dead.Reason, e.Dead.Detail, e.Dead.Raw))
				} else {
					offers = append(offers, asJSON(e.Offer))
				}
			}
			if !more {
				break
			}
		}
	}
	return offers, dead, nil
}

// TestPoison checks that a step that panics becomes a dead letter and has no
// other effect: all other offers are the same as without it.
func TestPoison(t *testing.T) {
	set := poisonSet(t)
	view := func(id, user, at string) string {
		return fmt.Sprintf(`{"type":"track","event":"View","userId":%q,"messageId":%q,"timestamp":"2026-03-01T12:%sZ","properties":{"p":%q}}`, user, id, at, id)
	}
	with := []string{
		view("a", "ada", "00:00") + "\n" + view("boom", "ada", "00:10") + "\n" + view("b", "bob", "00:20"),
		view("c", "ada", "00:30"),
		view("d", "ada", "10:00"),
	}
	without := []string{view("a", "ada", "00:00") + "\n" + view("b", "bob", "00:20"), with[1], with[2]}
	want, _ := poisoned(t, set, without, "none")

	offers, dead := poisoned(t, set, with, "web") // the step of the event panics
	if !slices.Equal(offers, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(offers, "\n"), strings.Join(want, "\n"))
	}
	if len(dead) != 1 || dead[0] != "panic bang: "+view("boom", "ada", "00:10") {
		t.Errorf("dead letters: %q", dead)
	}

	all, _ := poisoned(t, set, with, "none")
	offers, dead = poisoned(t, set, with, "push") // the step of its due time panics
	all = slices.DeleteFunc(all, func(o string) bool { return strings.Contains(o, `"later"`) && strings.Contains(o, `"boom"`) })
	if !slices.Equal(offers, all) || len(offers) == len(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(offers, "\n"), strings.Join(all, "\n"))
	}
	if len(dead) != 1 || dead[0] != `panic bang: {"type":"track","event":"View","messageId":"boom","userId":"ada"}` {
		t.Errorf("dead letters: %q", dead)
	}
}
