package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/campaign"
)

// TestBrakeMost: ceil(m + 4 * isqrt(ceil(m))), with m = max / partitions.
func TestBrakeMost(t *testing.T) {
	for _, tt := range []struct{ max, partitions, want int }{
		{1, 1, 5}, {1, 8, 5}, {3, 1, 7}, {4, 1, 12}, {5000, 1, 5280}, {5000, 8, 725}, {5001, 8, 726}, {8, 8, 5}, {9, 8, 6}, {1_000_000, 1, 1_004_000}, {1_000_000, 1000, 1124},
	} {
		if got := brakeMost(tt.max, tt.partitions); got != tt.want {
			t.Errorf("of %d in one of %d partitions %d may go out, want %d", tt.max, tt.partitions, got, tt.want)
		}
	}
	for n := range 70_000 {
		if r := isqrt(n); r*r > n || (r+1)*(r+1) <= n {
			t.Fatalf("the root of %d is %d", n, r)
		}
	}
}

// brakeSet is a set in which each event X sends one offer of campaign x, if nothing
// has paused it.
func brakeSet(t *testing.T, brakes ...campaign.Brake) *Set {
	t.Helper()
	of := func(id, channel, kind string, rows ...string) campaign.Campaign {
		c := campaign.Campaign{ID: id, On: []string{strings.ToUpper(id)}, Offer: campaign.OfferSpec{Channel: channel, Kind: kind}}
		for _, r := range rows {
			c.Rows = append(c.Rows, campaign.Row{ID: r, Values: fmt.Appendf(nil, `{"id":%q}`, r)})
		}
		return c
	}
	rows := of("r", "sms", campaign.Advertising, "1", "2")
	rows.Where = "event.properties.row == row.id"
	withheld := of("w", "sms", campaign.Advertising)
	withheld.Holdout = 10_000
	set, problems := Compile(&campaign.Definition{Engine: Engine, Clock: campaign.ClockBroker, Lateness: campaign.DefaultLateness, Bounds: campaign.DefaultBounds, Brakes: brakes,
		Campaigns: []campaign.Campaign{of("a", "sms", campaign.Advertising), of("b", "sms", campaign.Advertising), of("p", "push", campaign.Advertising), rows, of("s", "sms", campaign.Service), withheld}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

// A naiveBrake predicts a fold by going through all offers again and again.
type naiveBrake struct {
	partitions int
	set        *campaign.Definition
	sent       []naiveOffer
	anew       map[string]int // by brake and name: the first of sent that counts
	braked     map[string]uint64
	pauses     uint64
	paused     []string
	channels   []string
}

type naiveOffer struct {
	campaign, channel string
	at                int64
}

// goesOut reports whether a campaign's offer goes out, and counts it.
func (n *naiveBrake) goesOut(unit string, at int64) bool {
	id := campaign.NameOf(unit)
	c := n.set.Campaigns[slices.IndexFunc(n.set.Campaigns, func(c campaign.Campaign) bool { return c.ID == id })]
	ch, advertising := c.Offer.Channel, c.Offer.Kind == campaign.Advertising
	_, one := n.braked["campaign "+id]
	_, all := n.braked["channel "+ch]
	if advertising && (one || all || slices.Contains(n.channels, ch)) || slices.Contains(n.paused, id) || slices.Contains(n.paused, unit) {
		return false
	}
	if !advertising || c.Holdout > 0 {
		return true
	}
	n.sent = append(n.sent, naiveOffer{id, ch, at})
	for _, b := range n.set.Brakes {
		name := "channel " + ch
		if b.PerCampaign {
			name = "campaign " + id
		}
		count := 0
		for _, o := range n.sent[n.anew[name]:] {
			if o.channel == ch && (!b.PerCampaign || o.campaign == id) && o.at > at-int64(b.Within) && o.at <= at {
				count++
			}
		}
		part := (b.Max + n.partitions - 1) / n.partitions
		if b.Channel == ch && count > part+4*isqrt(part) {
			n.anew[name], n.braked[name] = len(n.sent), n.pauses
		}
	}
	return true
}

// control carries a control message out.
func (n *naiveBrake) control(pauses uint64, paused, channels []string, resumed map[string]uint64) {
	if pauses == 0 { // a message of engine 3
		n.paused, n.channels = paused, channels
	}
	if pauses <= n.pauses {
		return
	}
	for name, at := range resumed {
		if tripped, ok := n.braked[name]; ok && at > tripped {
			delete(n.braked, name)
		}
		if at > n.pauses {
			n.anew[name] = len(n.sent)
		}
	}
	n.pauses, n.paused, n.channels = pauses, paused, channels
}

// TestBrake compares a fold with a model that counts anew at each offer, over random
// logs with operators' pauses, resumes and changes of the brakes' numbers, and with
// restarts from the cursor and the entities' records between any two steps.
func TestBrake(t *testing.T) {
	tripped, released := 0, 0
	for seed := range uint64(300) {
		for _, partitions := range []int{1, 3, 8} {
			rng := rand.New(rand.NewPCG(seed, uint64(partitions)))
			n := &naiveBrake{partitions: partitions, anew: map[string]int{}, braked: map[string]uint64{}}
			within := [2]time.Duration{time.Duration(20+rng.IntN(100)) * time.Second, time.Duration(20+rng.IntN(100)) * time.Second}
			sets, hashes := map[string]*Set{}, []string{}
			for range 2 {
				set := brakeSet(t, campaign.Brake{Channel: "sms", Max: 1 + rng.IntN(12*partitions), Within: within[0]}, campaign.Brake{Channel: "sms", Max: 1 + rng.IntN(5*partitions), Within: within[1], PerCampaign: true})
				sets[set.hash] = set
				hashes = append(hashes, set.hash)
			}
			bySet := func(hash string) (*Set, error) { return sets[hash], nil }
			users := Memory{}
			f, err := NewFold(Cursor{}, bySet, users)
			if err != nil {
				t.Fatal(err)
			}
			f.Partition(0, partitions)
			seq, stored, ids := uint64(0), int64(time.Hour), 0
			var want, got []string
			message := func(kind Kind, data string) {
				seq++
				m := Message{Seq: seq, Stored: stored, Kind: kind, Data: []byte(data)}
				if err := f.Begin(m); err != nil {
					t.Fatal(err)
				}
				for more := true; more; {
					if more, err = f.Next(); err != nil {
						t.Fatal(err)
					}
					for _, e := range f.Effects() {
						got = append(got, fmt.Sprint(e.Offer.Event, " ", e.Offer.Campaign))
					}
					if more && rng.IntN(30) == 0 {
						f, users = resumed(t, f, bySet, users)
						f.Partition(0, partitions)
						if err := f.Begin(m); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			apply := func(hash string) {
				message(Control, fmt.Sprintf(`{"set":%q,"engine":5}`, hash))
				n.set = sets[hash].def
			}
			apply(hashes[0])
			resumedAt, revision := map[string]uint64{}, uint64(0)
			for range 60 {
				stored += int64(rng.IntN(8)) * int64(time.Second)
				switch r := rng.IntN(24); {
				case r == 0:
					apply(hashes[rng.IntN(2)])
				case r < 3:
					revision++
					for name := range n.braked {
						if rng.IntN(2) == 0 {
							resumedAt[name] = revision
						}
					}
					if rng.IntN(6) == 0 {
						resumedAt[[]string{"channel sms", "channel push", "campaign a", "campaign r", "campaign gone"}[rng.IntN(5)]] = revision
					}
					paused, channels := []string{}, []string{}
					if rng.IntN(8) == 0 {
						paused = []string{[]string{"a", "r", "r/1", "s"}[rng.IntN(4)]}
					}
					if rng.IntN(8) == 0 {
						channels = []string{[]string{"sms", "push"}[rng.IntN(2)]}
					}
					number := revision - uint64(rng.IntN(4)/3) // sometimes that of the one before
					message(Control, fmt.Sprintf(`{"paused":%s,"channels":%s,"resumed":%s,"pauses":%d,"engine":5}`, asJSON(paused), asJSON(channels), asJSON(resumedAt), number))
					before := len(n.braked)
					n.control(number, paused, channels, resumedAt)
					released += before - len(n.braked)
				default:
					var pack []string
					for range 1 + rng.IntN(6) {
						unit := []string{"a", "a", "a", "b", "p", "r/1", "r/2", "s", "w"}[rng.IntN(9)]
						name, row, _ := strings.Cut(unit, "/")
						ids++
						pack = append(pack, fmt.Sprintf(`{"type":"track","event":%q,"userId":"u%d","messageId":"%d","properties":{"row":%q}}`, strings.ToUpper(name), rng.IntN(20), ids, row))
						before := len(n.braked)
						if n.goesOut(unit, stored) {
							want = append(want, fmt.Sprint(ids, " ", unit))
						}
						tripped += len(n.braked) - before
					}
					message(In, strings.Join(pack, "\n"))
				}
				var braked []string
				for _, b := range f.Braked() {
					braked = append(braked, b.Name())
					if n.braked[b.Name()] != b.Pauses {
						t.Errorf("%s tripped under revision %d, want %d", b.Name(), b.Pauses, n.braked[b.Name()])
					}
				}
				slices.Sort(braked)
				if !slices.Equal(got, want) || !slices.Equal(braked, slices.Sorted(maps.Keys(n.braked))) {
					t.Fatalf("seed %d, %d partitions, message %d:\n got %v\nwant %v\nbraked %v, want %v", seed, partitions, seq, got[max(0, len(got)-9):], want[max(0, len(want)-9):], braked, slices.Sorted(maps.Keys(n.braked)))
				}
			}
			f.conserved(t)
		}
	}
	t.Logf("%d brakes tripped, %d were released", tripped, released)
	if tripped < 500 || released < 100 {
		t.Errorf("only %d brakes tripped and %d were released", tripped, released)
	}
}

// braking is a fold of a log under a set in which six sms within a minute are one too
// many.
func braking(t *testing.T, partitions int) *logged {
	t.Helper()
	set := brakeSet(t, campaign.Brake{Channel: "sms", Max: 1, Within: time.Minute})
	l := newLogged(t, set)
	l.f.Partition(0, partitions)
	return l
}

// TestBrakeInEffect: the sixth offer goes out, and the seventh does not; a fold
// that knows no partitions has no brake.
func TestBrakeInEffect(t *testing.T) {
	for _, tt := range []struct{ partitions, out int }{{1, 6}, {8, 6}, {0, 9}} {
		l := &logged{t: t}
		set := brakeSet(t, campaign.Brake{Channel: "sms", Max: 1, Within: time.Minute})
		var err error
		if l.f, err = NewFold(Cursor{Set: set.hash}, func(string) (*Set, error) { return set, nil }, Memory{}); err != nil {
			t.Fatal(err)
		}
		l.f.Partition(0, tt.partitions)
		for i := range 9 {
			l.event(fmt.Sprint("u", i), "A", "")
		}
		if len(l.offers) != tt.out {
			t.Errorf("%d partitions: %d offers, want %d", tt.partitions, len(l.offers), tt.out)
		}
		l.event("u1", "S", "")
		l.event("u1", "P", "")
		if len(l.offers) != tt.out+2 {
			t.Errorf("%d partitions: a service offer, or one on another channel, did not go out", tt.partitions)
		}
		if tt.out == 9 {
			continue
		}
		want := Braked{Channel: "sms", Seq: 6, At: 6e9, Sent: 6, Within: time.Minute}
		if got := l.f.Braked(); len(got) != 1 || got[0] != want {
			t.Errorf("braked: %+v, want %+v", got, want)
		}
		if e := l.f.ents.(Memory)["b:sms"]; !e.Empty() {
			t.Error("the brake counts on, and has tripped")
		}
	}
}

// TestBrakePending: what is pending when a brake trips is judged when it is due, and
// ends as paused.
func TestBrakePending(t *testing.T) {
	def := brakeSet(t, campaign.Brake{Channel: "sms", Max: 1, Within: time.Minute}).def
	waits := def.Campaigns[0]
	waits.ID, waits.On, waits.Unless = "u", []string{"U"}, &campaign.Unless{On: []string{"Order"}, Within: 10 * time.Second}
	def.Campaigns = slices.Insert(def.Campaigns, 5, waits)
	l := newLogged(t, mustCompile(t, def))
	l.f.Partition(0, 1)
	l.event("u1", "U", "")
	for i := range 6 {
		l.event(fmt.Sprint("u", i), "A", "")
	}
	l.offers = nil
	for range 8 {
		l.message(Tick, "{}")
	}
	l.want("", "u", "evaluated:1 paused:1")
	l.event("u1", "U", "")
	l.want("", "u", "evaluated:2 paused:2")
}

// TestBrakePoison: a step that panics, and so sends nothing, counts nothing.
func TestBrakePoison(t *testing.T) {
	l := braking(t, 1)
	for i := range 5 {
		l.event(fmt.Sprint("u", i), "A", "")
	}
	id := StepID{Seq: l.seq + 1}
	l.f.Guard(id)
	out := l.f.step.out
	l.f.step.out = func(o *Offer) {
		out(o)
		panic("bang")
	}
	l.seq++
	if err := l.f.Begin(Message{Seq: l.seq, Stored: int64(l.seq) * 1e9, Kind: In, Data: []byte(`{"type":"track","event":"A","userId":"u9","messageId":"boom"}`)}); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		var err error
		if more, err = l.f.Next(); err != nil {
			t.Fatal(err)
		}
	}
	l.f.step.out = out
	if times := l.f.ents.(Memory)["b:sms"].channels[0].times; len(times) != 5 || len(l.f.Braked()) > 0 {
		t.Errorf("%d offers are counted, want 5; braked: %v", len(times), l.f.Braked())
	}
	l.event("u1", "A", "")
	if len(l.f.Braked()) != 1 {
		t.Error("the sixth offer does not trip the brake")
	}
}

// TestBrakeKeepsWindow: only times within the window are kept, also of a brake with a
// large maximum; and a fold that goes on from the records of the entities has them.
func TestBrakeKeepsWindow(t *testing.T) {
	set := brakeSet(t, campaign.Brake{Channel: "sms", Max: 1_000_000, Within: 10 * time.Second})
	l := newLogged(t, set)
	l.f.Partition(0, 1)
	for i := range 50 {
		l.event(fmt.Sprint("u", i), "A", "")
	}
	e, err := DecodeEntity("b:sms", l.f.ents.(Memory)["b:sms"].AppendBinary(nil))
	if err != nil {
		t.Fatal(err)
	}
	if times := e.channels[0].times; len(times) != 10 || times[0] != int64(l.seq-9)*1e9 {
		t.Errorf("%v are kept after %d", times, l.seq*1e9)
	}
	if e.Due() != NoDue {
		t.Error("the brake's entity is due")
	}
}

// TestBrakesOfMany: when more campaigns are braked than can be listed, the channel is.
func TestBrakesOfMany(t *testing.T) {
	l := newLogged(t, brakeSet(t, campaign.Brake{Channel: "sms", Max: 1, Within: time.Minute, PerCampaign: true}))
	l.f.Partition(0, 1)
	for i := range mostPaused {
		l.f.cur.Braked = append(l.f.cur.Braked, Braked{Campaign: fmt.Sprint("gone", i)})
	}
	for i := range 6 {
		l.event(fmt.Sprint("u", i), "A", "")
	}
	l.event("u1", "B", "")
	if got := l.f.Braked(); len(l.offers) != 6 || got[len(got)-1].Channel != "sms" {
		t.Errorf("%d offers, and the last braked is %+v", len(l.offers), got[len(got)-1])
	}
}

// TestBrakeIsNoUser: the entities in which brakes count are nobody's.
func TestBrakeIsNoUser(t *testing.T) {
	def := *brakeSet(t, campaign.Brake{Channel: "sms", Max: 9, Within: time.Hour}).def
	def.Clock = campaign.ClockEvent
	b, problems := NewBacktest(&def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b.fold.Partition(0, 1)
	if err := b.Line([]byte(at("10:00:00", "A", "")), func(*Offer) {}); err != nil {
		t.Fatal(err)
	}
	if b.Users["b:sms"] == nil || b.UserCount() != 1 {
		t.Errorf("%d users, want 1; brake %v", b.UserCount(), b.Users["b:sms"])
	}
	for key, is := range map[string]bool{"u:b": true, "a:": true, "b:sms": false, "f:weather": false, "": false} {
		if IsUser(key) != is {
			t.Errorf("IsUser(%q) is %v", key, !is)
		}
	}
}

// TestPausedInWords: a trace tells whether an operator or a brake has paused what.
func TestPausedInWords(t *testing.T) {
	l := braking(t, 1)
	var told []string
	l.f.Trace(func(tr *Trace) {
		for _, s := range tr.Stages {
			for _, p := range s.Parts {
				if p.Text == "paused" {
					var of [3]string
					for i, v := range p.Values {
						if err := json.Unmarshal(v.Is, &of[i]); err != nil {
							t.Fatal(err)
						}
					}
					told = append(told, PausedBy(of[0], of[1], of[2]))
				}
			}
		}
	})
	say := func(event, want string) {
		t.Helper()
		told = nil
		l.event("u1", event, "")
		if got := strings.Join(told, "; "); got != want {
			t.Errorf("%s: %q, want %q", event, got, want)
		}
	}
	control := func(pauses uint64, rest string) {
		l.message(Control, fmt.Sprintf(`{"engine":5,"pauses":%d,%s}`, pauses, rest))
	}
	for i := range 6 {
		l.event(fmt.Sprint("u", i), "A", "")
	}
	say("A", "a brake has paused advertising on sms, because more went out than it allows")
	rendered, err := l.f.Render("u:u1", RenderQuery{Campaign: "a"})
	if err != nil || !slices.Equal(rendered.Stops, []string{"paused: a brake has paused advertising on sms, because more went out than it allows"}) {
		t.Errorf("a test offer is stopped by %q (%v)", rendered.Stops, err)
	}
	control(1, `"paused":[],"channels":["sms","push"],"resumed":{"channel sms":1}`)
	say("A", "an operator, or the brake of another partition, has paused advertising on sms")
	say("P", "an operator has paused advertising on push")
	say("S", "")
	control(2, `"paused":["a","r/1"]`)
	say("A", "an operator has paused the campaign")
	say("B", "")
}
