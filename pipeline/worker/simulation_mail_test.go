package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// A simMail is a mail that is stored in the receiver's log.
type simMail struct {
	pos  pipeline.Position
	data []byte
}

func mailOrder(a, b pipeline.Position) int {
	if a.G != b.G {
		return int(max(-1, min(1, a.G-b.G)))
	}
	return int(int64(a.N) - int64(b.N))
}

// simFrom is the partition that sent a message of mails, 0 of any other message.
func simFrom(subject string) int {
	_, from, _ := strings.Cut(subject, ".from.")
	p, _ := strconv.Atoi(from)
	return p
}

// mailsIn adds the mails of a partition's log, by their senders and chains, without
// those that the receiver passes over.
func (b *simBroker) mailsIn(q int, all map[int]map[string][]simMail) error {
	chain := pipeline.MailChain(q)
	for _, m := range b.stream(fmt.Sprint("EVENTS-", q)).messages {
		if simKind(m.Subject) != pipeline.From {
			continue
		}
		p := simFrom(m.Subject)
		if all[p] == nil {
			all[p] = map[string][]simMail{}
		}
		var last, end pipeline.Position
		if had := all[p][chain]; len(had) > 0 {
			last = had[len(had)-1].pos
		}
		err := pipeline.EachPacked(m.Data, func(at pipeline.Position, mail []byte) error {
			end = at
			if mailOrder(at, last) > 0 {
				last = at
				all[p][chain] = append(all[p][chain], simMail{at, bytes.Clone(mail)})
			}
			return nil
		})
		if pos, wrong := broker.ParsePosition(m.Header); err == nil && (wrong != nil || pos != end) {
			err = fmt.Errorf("its headers say %+v, its last mail is %+v", pos, end)
		}
		if err != nil {
			return fmt.Errorf("EVENTS-%d, message %d: %w", q, m.Seq, err)
		}
	}
	return nil
}

// mails are the mails of all logs, by their senders and chains.
func (g *simGroup) mails() (map[int]map[string][]simMail, error) {
	all := map[int]map[string][]simMail{}
	for q := range g.partitions {
		if err := g.broker.mailsIn(q, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// exactMail removes the first stored mail of a chain, and compares it with the one that
// the fold gives. Mails from before an acceptance are passed over.
func exactMail(stored map[string][]simMail, p int, e pipeline.Effect) error {
	all := stored[e.Chain]
	for e.Pos.N == 0 && len(all) > 0 && mailOrder(all[0].pos, e.Pos) < 0 {
		all = all[1:]
	}
	if len(all) == 0 {
		return fmt.Errorf("%s.%d: mail %+v is missing", e.Chain, p, e.Pos)
	}
	if all[0].pos != e.Pos || !bytes.Equal(all[0].data, e.Mail) {
		return fmt.Errorf("%s.%d: stored is %+v %q, the log gives %+v %q", e.Chain, p, all[0].pos, all[0].data, e.Pos, e.Mail)
	}
	stored[e.Chain] = all[1:]
	return nil
}

// noneLeft checks that there are no more mails than the fold gives.
func noneLeft(stored map[string][]simMail, p int) error {
	for _, chain := range slices.Sorted(maps.Keys(stored)) {
		if n := len(stored[chain]); n > 0 {
			return fmt.Errorf("%s.%d: the last %d mails are too many", chain, p, n)
		}
	}
	return nil
}

// TestSimulationOfMails runs writers of one partition's chains of mails, with faults
// that seeds decide: crashes, lost and late answers, freezes, logs that expire and that
// are cut back. The receivers get each mail once and in order, or a writer stops loudly.
func TestSimulationOfMails(t *testing.T) {
	loud, cuts, aged := 0, 0, 0
	for seed := *fromSeed; seed < *fromSeed+4*uint64(*seeds); seed++ {
		g := newSimOffice(seed)
		err := g.run()
		g.end()
		if err != nil {
			t.Fatalf("go test ./pipeline/worker -run '^TestSimulationOfMails$' -args -seeds=1 -seed=%d\n%v", seed, err)
		}
		cuts += g.cuts
		if g.loud() != nil {
			loud++
		}
		aged += g.aged
	}
	t.Logf("%d seeds: %d with a log cut back, %d of them loud; %d times a log's beginning expired", 4**seeds, cuts, loud, aged)
}

// A simOffice is the simulation of two writers of partition 0, which both have folded
// its log to the same mails.
type simOffice struct {
	*simulation
	broker  *simBroker
	log     *slog.Logger
	mails   []pipeline.Effect
	input   uint64 // how many messages the sender's log has beside mails
	writers []*simWriter
	cuts    int
	aged    int
}

// A simWriter is a machine that publishes mails.
type simWriter struct {
	of     *process // nil: it does not run
	cursor pipeline.Cursor
	done   bool
	loud   error
}

const offices = 3 // partitions

func newSimOffice(seed uint64) *simOffice {
	s := newSimulation(seed)
	g := &simOffice{simulation: s, broker: newSimBroker(s), log: quiet(), writers: []*simWriter{{}, {}}}
	if os.Getenv("LOG") != "" {
		g.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	g.input = uint64(20 + g.rng.IntN(100))
	for i := range g.input {
		seq, _ := g.broker.store("events.0.in", nil, []byte("{}"), nil)
		g.broker.stream("EVENTS-0").messages[i].Time = int64(seq) * 1000
	}
	g.fold()
	return g
}

// fold makes the mails that the log gives: a few from each message, and from an
// acceptance in the midst of some logs a mark to each partition first.
func (g *simOffice) fold() {
	accepted := uint64(0)
	if g.chance(400) {
		accepted = 2 + g.rng.Uint64N(g.input-2)
	}
	var gen int64
	last := map[string]pipeline.Position{}
	for s := uint64(1); s <= g.input; s++ {
		k := map[string]uint32{}
		give := func(q int, n uint64) {
			chain := pipeline.MailChain(q)
			pos := pipeline.Position{N: n, S: s, K: k[chain], T: int64(s) * 1000, G: gen}
			k[chain]++
			last[chain] = pos
			g.mails = append(g.mails, pipeline.Effect{Chain: chain, Pos: pos, Mail: fmt.Appendf(nil, "%d to %d %s", s, q, strings.Repeat("x", g.rng.IntN(200)))})
		}
		if s == accepted {
			gen = int64(s) * 1000
			for q := range offices {
				give(q, 0)
			}
		}
		for range g.rng.IntN(4) {
			q := g.rng.IntN(offices)
			give(q, last[pipeline.MailChain(q)].N+1)
		}
	}
}

// work publishes the mails behind the writer's cursor, with checkpoints at random, until
// all are stored.
func (g *simOffice) work(w *simWriter) {
	of, rng := w.of, rand.New(rand.NewPCG(g.rng.Uint64(), 1))
	known := broker.Known{}
	for !w.done && w.loud == nil {
		for g.broker.down > g.time {
			g.rest(context.Background(), nil, 50*time.Millisecond)
		}
		wire := g.broker.connect(of)
		err := g.attempt(w, rng, broker.Simulated(wire, simWorld{g.simulation, of}, broker.Names{}, offices, g.log), known)
		wire.end()
		switch {
		case errors.Is(err, broker.ErrLoud):
			w.loud = err
		case err != nil:
			g.log.Info("again", "error", err)
		}
		g.rest(context.Background(), nil, g.upTo(time.Second))
	}
}

func (g *simOffice) attempt(w *simWriter, rng *rand.Rand, conn *broker.Conn, known broker.Known) error {
	ctx := context.Background()
	cs, err := conn.OpenChains(ctx, 0, broker.ChainOptions{Cursor: w.cursor, Known: known, End: g.input, Confirm: 20 * time.Second, Muted: rng.IntN(4) == 0})
	if err != nil {
		return err
	}
	defer cs.Close()
	if rng.IntN(2) == 0 { // the owner changes
		g.start(w.of, func() {
			for cs.Err() == nil {
				g.rest(ctx, nil, g.upTo(5*time.Second))
				cs.SetMuted(rng.IntN(3) == 0)
			}
		})
	} else {
		cs.SetMuted(false)
	}
	cursor := pipeline.Cursor{Seq: w.cursor.Seq, Chains: maps.Clone(w.cursor.Chains)}
	if cursor.Chains == nil {
		cursor.Chains = map[string]pipeline.Chain{}
	}
	checkpoint := func() error {
		stored := pipeline.Cursor{Seq: cursor.Seq, Chains: maps.Clone(cursor.Chains)}
		if err := cs.Await(ctx, stored); err != nil {
			return err
		}
		cs.Sent(stored)
		w.cursor = stored
		return nil
	}
	for _, e := range g.mails {
		if e.Pos.S <= w.cursor.Seq {
			continue
		}
		if cursor.Seq < e.Pos.S-1 {
			cursor.Seq = e.Pos.S - 1
			if rng.IntN(10) == 0 {
				if err := checkpoint(); err != nil {
					return err
				}
			}
		}
		if err := cs.Append(ctx, e); err != nil {
			return err
		}
		cursor.Chains[e.Chain] = pipeline.Chain{Last: e.Pos}
		if rng.IntN(3) == 0 {
			g.rest(ctx, nil, g.upTo(300*time.Millisecond))
		}
		if err := cs.Err(); err != nil {
			return err
		}
	}
	cursor.Seq = g.input
	if err := checkpoint(); err != nil {
		return err
	}
	w.done = true
	return nil
}

func (g *simOffice) begin(w *simWriter) {
	w.of, w.done = &process{name: "writer"}, false
	g.start(w.of, func() { g.work(w) })
}

func (g *simOffice) crash(w *simWriter) {
	if w.of == nil || w.loud != nil {
		return
	}
	g.kill(w.of)
	for _, wire := range slices.Clone(g.broker.wires) {
		if wire.of == w.of {
			wire.end()
		}
	}
	w.of = nil
	if g.chance(200) { // its disk is lost
		w.cursor = pipeline.Cursor{}
	}
}

// fault causes a random fault.
func (g *simOffice) fault() {
	w, q := g.writers[g.rng.IntN(len(g.writers))], g.rng.IntN(offices)
	st := g.broker.stream(fmt.Sprint("EVENTS-", q))
	switch g.rng.IntN(8) {
	case 0, 1:
		g.crash(w)
	case 2:
		if w.of != nil {
			w.of.frozen = g.time + g.upTo(40*time.Second)
		}
	case 3:
		g.broker.restart(g.upTo(3 * time.Second))
	case 4:
		g.broker.frozen = g.time + g.upTo(200*time.Millisecond)
	case 5: // the beginning of a log expires, perhaps all of it
		first := 1 + g.rng.Uint64N(uint64(len(st.messages)+1))
		if g.chance(300) {
			first = uint64(len(st.messages) + 1)
		}
		if first > st.first {
			st.first = first
			g.aged++
		}
	default:
		if w.of == nil {
			g.begin(w)
		}
	}
}

func (g *simOffice) loud() error { return errors.Join(g.writers[0].loud, g.writers[1].loud) }

func (g *simOffice) run() error {
	rate := func() int { return g.rng.IntN(4) * g.rng.IntN(8) }
	g.broker.faults = simFaults{lost: rate(), late: 2 * rate(), ackLost: rate(), refused: rate(), cut: rate() / 4, slowness: g.upTo(20 * time.Millisecond)}
	for _, w := range g.writers {
		g.begin(w)
	}
	world, over := &process{name: "world"}, false
	g.start(world, func() {
		for range 5 + g.rng.IntN(20) {
			g.rest(context.Background(), nil, g.upTo(5*time.Second))
			g.fault()
		}
		if g.chance(300) {
			g.cutBack()
		}
		g.rest(context.Background(), nil, g.upTo(10*time.Second))
		g.broker.faults, g.broker.frozen = simFaults{}, 0
		for _, w := range g.writers {
			if w.of != nil {
				w.of.frozen = 0
			}
		}
		g.rest(context.Background(), nil, 2*time.Minute) // until all that is late has come
		for _, w := range g.writers {                    // each reads all tails once more
			if w.loud == nil {
				if w.of != nil {
					g.kill(w.of)
				}
				g.begin(w)
			}
		}
		over = true
	})
	err := g.simulation.run(func() bool {
		return over && !slices.ContainsFunc(g.writers, func(w *simWriter) bool { return !w.done && w.loud == nil })
	}, g.time+time.Hour)
	if err != nil {
		return err
	}
	return g.exact()
}

// cutBack makes a log lose its last messages, the sender's own input excepted.
func (g *simOffice) cutBack() {
	name := fmt.Sprint("EVENTS-", g.rng.IntN(offices))
	st := g.broker.stream(name)
	own := len(st.messages)
	if name == "EVENTS-0" {
		own -= int(g.input)
	}
	if own > 0 {
		g.broker.restart(g.upTo(time.Second))
		g.broker.cutBack(name, 1+g.rng.IntN(min(own, 5)))
		g.cuts++
	}
}

// exact checks that the receivers' logs have each mail once and in order, unless
// messages were lost and a writer says so.
func (g *simOffice) exact() error {
	loud := g.loud()
	if g.cuts > 0 && loud != nil {
		return nil
	}
	if loud != nil {
		return fmt.Errorf("nothing was lost: %w", loud)
	}
	stored := map[int]map[string][]simMail{}
	for q := range offices {
		if err := g.broker.mailsIn(q, stored); err != nil {
			return err
		}
	}
	for _, e := range g.mails {
		if e.Pos.N == 0 && (len(stored[0][e.Chain]) == 0 || stored[0][e.Chain][0].pos != e.Pos) {
			return fmt.Errorf("mail %+v is not the next one of %s", e.Pos, e.Chain)
		}
		if err := exactMail(stored[0], 0, e); err != nil {
			return err
		}
	}
	return noneLeft(stored[0], 0)
}
