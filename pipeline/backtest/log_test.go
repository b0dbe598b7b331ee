package backtest

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/value"
)

var logSeed = flag.Uint64("logseed", 0, "of TestLog; 0: a new one")

// deployed is a deployment without a worker.
func deployed(t *testing.T, partitions int) *broker.Conn {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	ns, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Port: -1, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	c, err := broker.Connect(within(t), broker.Options{URL: ns.ClientURL(), Client: "test", Partitions: partitions, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// timedBroker compiles a generated set for the broker's clock.
func timedBroker(t *testing.T, canonical []byte) *pipeline.Set {
	t.Helper()
	def, err := campaign.ParseDefinition(canonical)
	if err != nil {
		t.Fatal(err)
	}
	def.Clock, def.Engine = campaign.ClockBroker, pipeline.Engine // of one engine, so that each set can take the other's place
	set, problems := pipeline.Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

// fill writes a log: a set, half of the events, another set, and the others. Events
// carry stamps, which decide log time because the broker's clock is ahead of them.
func fill(t *testing.T, c *broker.Conn, rng *rand.Rand, sets [2]*pipeline.Set, events [][]byte) {
	t.Helper()
	ctx := within(t)
	last := map[int]uint64{}
	control := func(set *pipeline.Set, at int64) {
		hash, err := c.PutSet(ctx, set.Definition())
		if err != nil {
			t.Fatal(err)
		}
		for p := range c.Partitions {
			if err := c.Control(ctx, p, last[p], fmt.Appendf(nil, `{"set":%q,"engine":%d,"at":%q}`, hash, set.Definition().Engine, value.FormatTime(at))); err != nil {
				t.Fatal(err)
			}
			m, err := c.LastControl(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			last[p] = m.Seq
		}
	}
	packs := map[int][]byte{}
	flush := func(p int) {
		if len(packs[p]) == 0 {
			return
		}
		if _, err := c.JS.PublishMsg(ctx, &nats.Msg{Subject: c.Names.EventsSubject(p, "in"), Data: packs[p]}); err != nil {
			t.Fatal(err)
		}
		packs[p] = nil
	}
	var dec event.Decoder
	now, changed := int64(0), false
	for i, raw := range events {
		ev, err := dec.Admit(raw, 0)
		if err != nil || ev.Type == event.Clock {
			continue
		}
		if ev.HasTimestamp {
			now = max(now, ev.Timestamp)
		}
		if now == 0 {
			continue
		}
		if last[0] == 0 {
			control(sets[0], now)
		}
		first, end := event.Partition(ev.Key, c.Partitions), event.Partition(ev.Key, c.Partitions)
		if ev.Type == event.Fact {
			first, end = 0, c.Partitions-1
		}
		head := fmt.Sprintf(`{"receivedAt":%q,"messageId":%s,`, value.FormatTime(now), value.AppendJSONString(nil, ev.ID))
		for p := first; p <= end; p++ {
			packs[p] = append(append(append(packs[p], head...), bytes.ReplaceAll(bytes.TrimSpace(raw)[1:], []byte("\n"), []byte(" "))...), '\n')
			if rng.IntN(3) == 0 {
				flush(p)
			}
		}
		if i >= len(events)/2 && !changed {
			changed = true
			for p := range c.Partitions {
				flush(p)
			}
			control(sets[1], now)
		}
		if rng.IntN(15) == 0 {
			if err := c.Tick(rng.IntN(c.Partitions), now); err != nil {
				t.Fatal(err)
			}
		}
	}
	for p := range c.Partitions {
		packs[p] = append(packs[p], "what is this?\n"...)
		flush(p)
	}
	if err := c.NC.FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
}

// A partModel is a partition's log folded in the plainest way.
type partModel struct {
	offers []*pipeline.Offer
	counts map[string]pipeline.Counts
	dead   int
}

func modelPart(t *testing.T, c *broker.Conn, p int, sets map[string]*pipeline.Set, all *pipeline.Set) (m partModel) {
	t.Helper()
	cursor := pipeline.Cursor{}
	if all != nil {
		cursor.Set = all.Hash()
	}
	f, err := pipeline.NewFold(cursor, func(hash string) (*pipeline.Set, error) {
		if all != nil {
			return all, nil
		}
		return sets[hash], nil
	}, pipeline.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	f.Partition(p, c.Partitions) // whose claims nobody answers in this log
	err = c.ScanLog(within(t), p, 1, func(msg pipeline.Message) error {
		if err := f.Begin(msg); err != nil {
			return err
		}
		for more := true; more; {
			var err error
			if more, err = f.Next(); err != nil {
				return err
			}
			for _, e := range f.Effects() {
				switch {
				case e.Offer != nil:
					m.offers = append(m.offers, e.Offer)
				case e.Dead != nil:
					m.dead++
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	m.counts, _ = f.Counts()
	return m
}

// TestLog: a run over the live log gives the offers and counts of each partition's log
// folded by itself, in the order of log time, with the sets that were live and with
// another set; and a part of the time gives a part of the offers.
func TestLog(t *testing.T) {
	t.Parallel()
	seed := *logSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e6
	}
	t.Logf("go test ./pipeline/backtest -run '^TestLog$' -logseed %d", seed)
	compared := 0
	for s := seed; s < seed+6; s++ {
		rng := rand.New(rand.NewPCG(s, 5))
		first, events := oracle.Generate(s)
		second, _ := oracle.Generate(s + 1_000_000)
		sets := [2]*pipeline.Set{timedBroker(t, first), timedBroker(t, second)}
		c := deployed(t, 3)
		fill(t, c, rng, sets, events)
		byHash := map[string]*pipeline.Set{sets[0].Hash(): sets[0], sets[1].Hash(): sets[1]}
		for _, all := range []*pipeline.Set{nil, sets[1]} {
			var want []*pipeline.Offer
			counts, dead := map[string]pipeline.Counts{}, 0
			for p := range c.Partitions {
				m := modelPart(t, c, p, byHash, all)
				want = append(want, m.offers...)
				for id, n := range m.counts {
					name, _, _ := strings.Cut(id, "/")
					counts[name] = counts[name].Plus(n)
				}
				dead += m.dead
			}
			slices.SortStableFunc(want, func(a, b *pipeline.Offer) int { return cmp.Compare(timeOf(t, a), timeOf(t, b)) })
			got, res := ran(t, c, all, LogOptions{})
			same(t, fmt.Sprintf("seed %d", s), got, want)
			for name, n := range counts {
				if res.Campaigns[name] == nil || res.Campaigns[name].Counts != n {
					t.Errorf("seed %d: campaign %s: %+v, want %+v", s, name, res.Campaigns[name], n)
				}
			}
			if len(res.Campaigns) != len(counts) || res.Rejected["json"] != 3 || dead < 3 || res.Lines < res.Events+3 || res.Set != sets[1].Hash() {
				t.Errorf("seed %d: %d campaigns, want %d; %+v", s, len(res.Campaigns), len(counts), res)
			}
			compared += len(want)
			if len(want) < 3 {
				continue
			}
			from, to := timeOf(t, want[len(want)/3]), timeOf(t, want[len(want)*2/3])
			part := slices.DeleteFunc(slices.Clone(want), func(o *pipeline.Offer) bool { return timeOf(t, o) < from || timeOf(t, o) > to })
			got, res = ran(t, c, all, LogOptions{Options: Options{From: from, To: to}})
			same(t, fmt.Sprintf("seed %d, a part of the time", s), got, part)
			fired := uint64(0)
			for _, n := range res.Campaigns {
				fired += n.Ended[pipeline.Fired] + n.Ended[pipeline.Withheld]
			}
			if fired != uint64(len(part)) || res.First != from || res.Last != to {
				t.Errorf("seed %d: of a part of the time %d offers are counted, want %d; it is from %d to %d, want %d to %d", s, fired, len(part), res.First, res.Last, from, to)
			}
		}
	}
	if compared == 0 {
		t.Error("no offer was compared")
	}
}

func timeOf(t *testing.T, o *pipeline.Offer) int64 {
	t.Helper()
	at, err := value.ParseTime(o.Time)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// ran runs Log and checks that it leaves nothing and tells how far it is.
func ran(t *testing.T, c *broker.Conn, set *pipeline.Set, opt LogOptions) (offers []*pipeline.Offer, res *Result) {
	t.Helper()
	opt.Dir = t.TempDir()
	opt.Offer = func(o *pipeline.Offer) error { offers = append(offers, o); return nil }
	var read, total uint64
	opt.Read = func(n, of uint64) {
		if n < read || n > of {
			t.Errorf("%d of %d messages are read, before it were %d", n, of, read)
		}
		read, total = n, of
	}
	res, err := Log(within(t), c, set, opt)
	if err != nil {
		t.Fatal(err)
	}
	if read == 0 || opt.To == 0 && read != total {
		t.Errorf("in the end %d of %d messages are read", read, total)
	}
	if left, err := os.ReadDir(opt.Dir); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	return offers, res
}

func same(t *testing.T, what string, got, want []*pipeline.Offer) {
	t.Helper()
	lines := func(offers []*pipeline.Offer) (all []string) {
		for _, o := range offers {
			b, err := o.AppendJSON(nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(b))
		}
		return all
	}
	if g, w := lines(got), lines(want); !slices.Equal(g, w) {
		t.Fatalf("%s: %d offers, want %d:\n%s\nwant\n%s", what, len(g), len(w), strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
}
