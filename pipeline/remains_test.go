package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

// A parted is the partitions of a deployment, whose mails come when the test says.
type parted struct {
	t     *testing.T
	parts []*folded
	now   int64
	met   map[mailKind]int
	got   map[string]bool // who has got remains
}

func newParted(t *testing.T, partitions int, sets ...*Set) *parted {
	s := &parted{t: t, met: map[mailKind]int{}, got: map[string]bool{}}
	for p := range partitions {
		d := newFolded(t, sets...)
		d.p, d.n = p, partitions
		d.fold(Cursor{})
		s.parts = append(s.parts, d)
	}
	return s
}

// message is the next message of a partition.
func (s *parted) message(p int, kind Kind, data []byte) Message {
	s.now++
	return Message{Seq: uint64(len(s.parts[p].log)) + 1, Stored: s.now, Kind: kind, Data: data}
}

func (s *parted) event(raw []byte, key string) {
	p := event.Partition(key, len(s.parts))
	s.parts[p].take(s.message(p, In, raw))
}

// deliver delivers the next mail of a partition; with one that no other deployment
// sends, also the one behind it. It reports whether there was any.
func (s *parted) deliver(from int) bool {
	d := s.parts[from]
	for len(d.mails) > 0 {
		e := d.mails[0]
		d.mails = d.mails[1:]
		m, err := decodeMail(e.Pos, e.Mail)
		if err != nil {
			s.t.Fatal(err)
		}
		to, _ := MailsTo(e.Chain)
		one := s.message(to, From, AppendPacked(nil, e.Pos, e.Mail))
		one.From = from
		s.met[m.kind]++
		if s.parts[to].take(one); m.kind != mailRemains {
			return true
		}
		s.got[m.to] = true
		s.now--
	}
	return false
}

// settle delivers all mails.
func (s *parted) settle() {
	for some := true; some; {
		some = false
		for p := range s.parts {
			for s.deliver(p) {
				some = true
			}
		}
	}
}

// TestRemains: a visitor becomes a user while a backfill is under way, and the
// partitions of the two switch before the claim, between it and the record, or after
// both. In the end features, sequences and what is pending read as if the set had
// always been in force. On random sets and events, with random claims.
func TestRemains(t *testing.T) {
	t.Parallel()
	met := map[string]int{}
	for one := *seed; one < *seed+uint64(*seeds)/2+1; one++ {
		remainsCase(t, one, met)
		if t.Failed() {
			return
		}
	}
	t.Logf("seed %d: %v", *seed, met)
	for _, what := range []string{"records", "remains"} {
		if met[what] == 0 && *seeds >= 50 {
			t.Errorf("there were no %s", what)
		}
	}
}

// unordered is of what reading has of a user that which does not depend on order: what
// happens between the record and the remains is not replayed when these come. So an
// item stays in a list that would have been removed, a cancelled absence waits, and so on.
// Weights of `top` are rounded where two are joined.
func unordered(t *testing.T, text string) string {
	features, _, _ := strings.Cut(text, "\n")
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(features), &all); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool {
		return strings.HasSuffix(name, "_list") || strings.HasSuffix(name, "_top")
	})
	return asJSON(all)
}

func remainsCase(t *testing.T, seed uint64, met map[string]int) {
	const partitions = 2
	setJSON, events := oracle.Generate(seed)
	def, err := campaign.ParseDefinition(setJSON)
	if err != nil {
		t.Fatal(err)
	}
	def.Clock, def.Forget, def.Brakes = campaign.ClockBroker, campaign.Forget{}, nil
	def.Bounds = campaign.DefaultBounds // at one, what has come together later is cut later
	n := mustCompile(t, def)
	before := bare(t, def)
	switch seed % 3 {
	case 1:
		before = fewer(t, def, func(i int) bool { return i%2 == 0 })
	case 2:
		before = n
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	always, d := newParted(t, partitions, n), newParted(t, partitions, n, before)
	for p := range partitions {
		d.parts[p].restarts = seed%2 == 0
		always.parts[p].take(always.message(p, Tick, []byte("{}")).live(n, 1))
		d.parts[p].take(d.message(p, Tick, []byte("{}")).live(before, 1))
	}
	switched := func(p int) bool { return d.parts[p].f.cur.Switched != nil }
	goLive := func(p int) {
		for range 2 { // so that the second state is not far behind
			always.parts[p].take(always.message(p, Tick, []byte("{}")))
		}
		d.parts[p].take(d.message(p, Tick, []byte("{}")))
		m := d.message(p, Tick, nil)
		d.parts[p].take(switchAt(m, n, 0, d.parts[p].f.Cursor(), 2, "drop"))
		if !switched(p) {
			t.Fatalf("seed %d: the switch did not count", seed)
		}
		if one := d.parts[p]; one.restarts { // the worker restarts before the remains are sent
			one.ents = decoded(t, one.ents)
			counts := one.f.step.live.tally
			one.fold(one.f.Cursor())
			one.f.step.live.tally = counts
		}
	}
	var users []string
	var dec event.Decoder
	for i, raw := range events {
		ev, err := dec.Admit(raw, 0)
		if err != nil || ev.Type != event.Identify && ev.Type != event.Track && ev.Type != event.Page {
			continue
		}
		key := strings.Clone(ev.Key)
		if !slices.Contains(users, key) {
			users = append(users, key)
		}
		if ev.HasTimestamp {
			always.now, d.now = max(always.now, ev.Timestamp), max(d.now, ev.Timestamp)
		}
		always.event(raw, key)
		d.event(raw, key)
		if i > len(events)/3 && rng.IntN(6) == 0 { // somebody logs in
			u, a := "", ""
			for _, i := range rng.Perm(len(users)) {
				if users[i][0] == 'u' {
					u = users[i][2:]
				} else {
					a = users[i][2:]
				}
			}
			if u != "" && a != "" {
				raw := fmt.Appendf(nil, `{"type":"identify","userId":%q,"anonymousId":%q,"messageId":"login %d","traits":{},"timestamp":%q}`, u, a, i, value.FormatTime(d.now))
				always.event(raw, "u:"+u)
				d.event(raw, "u:"+u)
			}
		}
		for range rng.IntN(3) {
			p := rng.IntN(partitions)
			always.deliver(p)
			d.deliver(p)
		}
		if i > len(events)/2 && rng.IntN(len(events)/4+1) == 0 {
			if p := rng.IntN(partitions); !switched(p) {
				goLive(p)
			}
		}
	}
	for p := range partitions {
		if !switched(p) {
			goLive(p)
		}
	}
	for range 2 { // the remains are sent with the first message behind the switch
		end := max(always.now, d.now) + 1
		for p := range partitions {
			for _, s := range []*parted{always, d} {
				s.now = end
				s.parts[p].take(s.message(p, Tick, []byte("{}")))
			}
		}
		always.settle()
		d.settle()
	}
	met["records"] += d.met[mailRecord]
	met["remains"] += d.met[mailRemains]
	end := max(always.now, d.now) + 1
	for p := range partitions {
		for _, s := range []*parted{always, d} {
			s.now = end
			s.parts[p].take(s.message(p, Tick, []byte("{}")))
			if err := conserved(s.parts[p].f); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
		want, got := reading(t, always.parts[p].f, true), reading(t, d.parts[p].f, true)
		for _, key := range slices.Sorted(maps.Keys(want)) {
			g, w := got[key], want[key]
			if d.got[key] {
				g, w = unordered(t, g), unordered(t, w)
			}
			if g != w {
				t.Errorf("seed %d, %s:\n got %s\nwant %s", seed, key, g, w)
				return
			}
		}
	}
}

// TestRemainsWait: what waits for a claimed visitor in its second state goes out to the
// user, once, wherever the claim stands between the switches; and to nobody where an
// acceptance has ended the claim.
func TestRemainsWait(t *testing.T) {
	a := sends("a", "", `"on":["Add"],"unless":{"on":["Order"],"within":10000000000}`)
	n, before := setOf(t, a), setOf(t, sends("b", "", `"on":["View"]`))
	const user, visitor = "u:u", "a:v"
	pu, pv := event.Partition(user, 2), event.Partition(visitor, 2)
	if pu == pv {
		t.Fatal("the two are of one partition")
	}
	switchTo := func(s *parted, p int) {
		s.parts[p].take(switchAt(s.message(p, Tick, nil), n, 0, s.parts[p].f.Cursor(), 2, "now"))
	}
	claim := func(s *parted) {
		s.event([]byte(`{"type":"identify","userId":"u","anonymousId":"v","messageId":"login","traits":{}}`), user)
	}
	for name, c := range map[string]struct {
		steps []func(s *parted)
		want  int
	}{
		"before both":                          {[]func(*parted){claim, (*parted).settle, func(s *parted) { switchTo(s, pv) }, func(s *parted) { switchTo(s, pu) }}, 1},
		"before both, the user's is the first": {[]func(*parted){claim, (*parted).settle, func(s *parted) { switchTo(s, pu) }, func(s *parted) { switchTo(s, pv) }}, 1},
		"between the user's and the visitor's": {[]func(*parted){func(s *parted) { switchTo(s, pu) }, claim, (*parted).settle, func(s *parted) { switchTo(s, pv) }}, 1},
		"between the visitor's and the user's": {[]func(*parted){func(s *parted) { switchTo(s, pv) }, claim, (*parted).settle, func(s *parted) { switchTo(s, pu) }}, 1},
		"behind both":                          {[]func(*parted){func(s *parted) { switchTo(s, pv) }, func(s *parted) { switchTo(s, pu) }, claim, (*parted).settle}, 1},
		"ended by an acceptance": {[]func(*parted){func(s *parted) { switchTo(s, pu) }, claim, func(s *parted) { s.deliver(pu) },
			func(s *parted) { s.parts[pu].take(s.message(pu, Accept, []byte(`{"why":"lost"}`))) }, (*parted).settle, func(s *parted) { switchTo(s, pv) }}, 0},
	} {
		s := newParted(t, 2, n, before)
		for p := range s.parts {
			s.parts[p].take(s.message(p, Tick, []byte("{}")).live(before, 1))
		}
		s.event([]byte(`{"type":"track","event":"Add","anonymousId":"v","messageId":"add","properties":{}}`), visitor)
		for _, step := range c.steps {
			step(s)
		}
		offers := 0
		for range 3 {
			s.settle()
			s.now += 10e9
			for p := range s.parts {
				s.parts[p].take(s.message(p, Tick, []byte("{}")))
			}
		}
		for p := range s.parts {
			offers += len(s.parts[p].offers)
			if err := conserved(s.parts[p].f); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if counts, _ := s.parts[pu].f.Counts(); offers != c.want || int(counts["a"].Ended[Fired]) != c.want {
			t.Errorf("%s: %d offers, %d of the user, want %d", name, offers, counts["a"].Ended[Fired], c.want)
		}
	}
}

// TestSecondClaimed: a second state stores a visitor who was claimed before anything came of
// it: it must know whose the visitor is.
func TestSecondClaimed(t *testing.T) {
	n, before := setOf(t, sends("a", "", `"on":["Add"]`)), setOf(t, sends("b", "", `"on":["View"]`))
	s := newParted(t, 1, n, before)
	p := s.parts[0]
	p.take(s.message(0, Tick, []byte("{}")).live(before, 1))
	s.event([]byte(`{"type":"identify","userId":"u","anonymousId":"v","messageId":"login","traits":{}}`), "u:u")
	s.settle()
	p.take(s.message(0, Tick, []byte("{}")))
	_, ents := p.second(&Switch{Set: n.hash})
	if e := ents["a:v"]; e == nil || e.Empty() || e.owner != "u:u" {
		t.Errorf("the visitor is %+v", e)
	}
}
