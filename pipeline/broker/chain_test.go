package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker/embedded"
)

// soon is the tests' ChainOptions.Confirm.
const soon = 200 * time.Millisecond

// records returns n records of a chain as a fold would give them: a few for each
// message, from message 2 on.
func records(rng *rand.Rand, chain string, n int) []pipeline.Effect {
	var all []pipeline.Effect
	s, k := uint64(2), uint32(0)
	for i := range n {
		pos := pipeline.Position{N: uint64(i + 1), S: s, K: k, T: int64(s) * 1000}
		all = append(all, pipeline.Effect{Chain: chain, Pos: pos, Offer: &pipeline.Offer{ID: fmt.Sprint(chain, i), Channel: "web", User: "ada"}})
		if k++; rng.IntN(3) > 0 {
			s, k = s+1+rng.Uint64N(3), 0
		}
	}
	return all
}

// upTo returns the cursor after message s.
func upTo(s uint64, all ...[]pipeline.Effect) pipeline.Cursor {
	c := pipeline.Cursor{Seq: s, Chains: map[string]pipeline.Chain{}}
	for _, chain := range all {
		for _, e := range chain {
			if e.Pos.S <= s {
				c.Chains[e.Chain] = pipeline.Chain{Last: e.Pos}
			}
		}
	}
	return c
}

func openChains(t *testing.T, c *Conn, cursor pipeline.Cursor, known Known) *Chains {
	t.Helper()
	cs, err := c.OpenChains(limited(t), 0, ChainOptions{Cursor: cursor, Known: known, End: 1 << 40, Confirm: soon})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cs.Close)
	return cs
}

func appendAll(t *testing.T, cs *Chains, all []pipeline.Effect) {
	t.Helper()
	for _, e := range all {
		if err := cs.Append(limited(t), e); err != nil {
			t.Fatal(err)
		}
	}
}

// onlyThese checks that the offers stream has exactly these records, in order.
func onlyThese(t *testing.T, c *Conn, want map[string][]pipeline.Effect) {
	t.Helper()
	got := map[string][]Record{}
	if err := c.ScanOffers(limited(t), 0, func(r Record) error {
		got[r.Chain] = append(got[r.Chain], r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for chain, all := range want {
		if len(got[chain]) != len(all) {
			t.Fatalf("%s has %d records, want %d", chain, len(got[chain]), len(all))
		}
		for i, e := range all {
			id := ""
			if e.Offer != nil {
				id = e.Offer.ID
			} else {
				id = e.Page.ID
			}
			if r := got[chain][i]; r.Pos != e.Pos || r.ID != id {
				t.Fatalf("%s: record %d is %+v", chain, i+1, r)
			}
		}
	}
}

// TestChainsContend lets several writers publish the same fold at once, each from
// another checkpoint, and lets them stop and start again meanwhile.
func TestChainsContend(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	ns := serve(t, embedded.Options{})
	rng := rand.New(rand.NewPCG(seed, 0))
	web, push := records(rng, "offers.web", 300), records(rng, "offers.push", 200)
	var all []pipeline.Effect // in the fold's order
	for i, j := 0, 0; i < len(web) || j < len(push); {
		if j == len(push) || i < len(web) && web[i].Pos.S <= push[j].Pos.S {
			all, i = append(all, web[i]), i+1
		} else {
			all, j = append(all, push[j]), j+1
		}
	}
	end := max(web[len(web)-1].Pos.S, push[len(push)-1].Pos.S)
	var writers sync.WaitGroup
	for w := range 3 {
		c := dial(t, Options{InProcess: ns})
		c.least = 2 * w // 0: one by one
		rng := rand.New(rand.NewPCG(seed, uint64(w)))
		writers.Go(func() {
			from, known := uint64(0), Known{}
			for from < end {
				cs, err := c.OpenChains(limited(t), 0, ChainOptions{Cursor: upTo(from, web, push), Known: known, End: 1 << 40, Confirm: soon})
				if err != nil {
					t.Error(err)
					return
				}
				to := min(from+rng.Uint64N(100), end)
				for _, e := range all {
					if e.Pos.S > from && e.Pos.S <= to {
						if err := cs.Append(limited(t), e); err != nil {
							t.Error(err)
						}
					}
				}
				if rng.IntN(3) > 0 { // otherwise it dies before its checkpoint
					if err := cs.Await(limited(t), upTo(to, web, push)); err != nil {
						t.Error(err)
					}
					from = to
				}
				cs.Close()
			}
		})
	}
	writers.Wait()
	onlyThese(t, dial(t, Options{InProcess: ns}), map[string][]pipeline.Effect{"offers.web": web, "offers.push": push})
}

// put stores a record, whatever the chain's tail is.
func put(t *testing.T, c *Conn, e pipeline.Effect) {
	t.Helper()
	m, err := message(c.Names.ChainSubject(e.Chain, 0), e)
	if err == nil {
		_, err = c.JS.PublishMsg(limited(t), m)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// isLoud checks that an error stops the partition, contains these words, and
// tells the operator what to do.
func isLoud(t *testing.T, err error, words string) {
	t.Helper()
	if !errors.Is(err, ErrLoud) || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "start the worker again") {
		t.Errorf("got %v, want a loud stop: %s", err, words)
	}
}

// TestTails opens chains whose tails contradict the fold.
func TestTails(t *testing.T) {
	t.Parallel()
	web := records(rand.New(rand.NewPCG(1, 1)), "offers.web", 10)
	last := web[9].Pos
	other := func(change func(*pipeline.Position)) pipeline.Effect {
		e := web[9]
		change(&e.Pos)
		return e
	}
	for _, tc := range []struct {
		name, words string
		stored      []pipeline.Effect
		cursor      pipeline.Cursor
		known       Known
		end         uint64
	}{
		{"as it was", "", web, upTo(last.S, web), Known{"offers.web": {Position: pipeline.Position{N: 10}}}, last.S},
		{"further than the state", "", web, upTo(4, web), Known{}, last.S},
		{"none yet", "", nil, pipeline.Cursor{Seq: 7}, Known{}, 7},
		{"less than the state has seen", "the state has seen record 10", web[:9], upTo(last.S, web), Known{}, last.S},
		{"nothing left", "the state has seen record 10", nil, upTo(last.S, web), Known{}, last.S},
		{"less than was acknowledged", "record 10 was acknowledged", web[:9], upTo(4, web), Known{"offers.web": {Position: pipeline.Position{N: 10}}}, last.S},
		{"of another message", "the state has", []pipeline.Effect{other(func(p *pipeline.Position) { p.S-- })}, upTo(last.S, web), Known{}, last.S},
		{"at another place in the message", "the state has", []pipeline.Effect{other(func(p *pipeline.Position) { p.K++ })}, upTo(last.S, web), Known{}, last.S},
		{"of another time", "the state has", []pipeline.Effect{other(func(p *pipeline.Position) { p.T++ })}, upTo(last.S, web), Known{}, last.S},
		{"more than the state's messages give", "there are only 10 records", []pipeline.Effect{other(func(p *pipeline.Position) { p.N++ })}, upTo(last.S, web), Known{}, last.S},
		{"from beyond the log's end", "the log ends at message", web, upTo(4, web), Known{}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
			for _, e := range tc.stored {
				put(t, c, e)
			}
			cs, err := c.OpenChains(limited(t), 0, ChainOptions{Cursor: tc.cursor, Known: tc.known, End: tc.end, Confirm: soon})
			switch {
			case tc.words != "":
				isLoud(t, err, tc.words)
			case err != nil:
				t.Error(err)
			default:
				cs.Close()
			}
		})
	}
}

// TestTailThatTheFoldNeverReaches: records are skipped up to a tail that is ahead
// of the fold, so it must be noticed if the fold passes the tail's message
// without producing the tail's record.
func TestTailThatTheFoldNeverReaches(t *testing.T) {
	t.Parallel()
	web := records(rand.New(rand.NewPCG(2, 2)), "offers.web", 20)
	for _, tc := range []struct {
		name  string
		tail  pipeline.Position
		words string
		feed  []pipeline.Effect
		at    uint64 // checkpoint
	}{
		{"another record at its number", pipeline.Position{N: 5, S: web[4].Pos.S, K: web[4].Pos.K, T: 1}, "the log gives", web[:5], 0},
		{"a later record came from a later message", pipeline.Position{N: 15, S: web[9].Pos.S - 1, T: 1}, "the log gives the earlier record", web[:10], 0},
		{"no later record comes", pipeline.Position{N: 15, S: web[9].Pos.S + 1, T: 1}, "there are only 10 records", web[:10], web[9].Pos.S + 1},
		{"no record comes at all", pipeline.Position{N: 1, S: 2, T: 1}, "there are only 0 records", nil, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
			put(t, c, pipeline.Effect{Chain: "offers.web", Pos: tc.tail, Offer: &pipeline.Offer{ID: "x"}})
			cs := openChains(t, c, pipeline.Cursor{}, Known{})
			appendAll(t, cs, tc.feed)
			if tc.at > 0 {
				cursor := upTo(tc.at, tc.feed)
				cursor.Seq = tc.at
				isLoud(t, cs.Await(limited(t), cursor), tc.words)
				return
			}
			await(t, "an end of the chains", func() bool { return cs.Err() != nil })
			isLoud(t, cs.Err(), tc.words)
		})
	}
}

// TestTailIsReadAgain: a partition is not stopped by a tail that is wrong only
// for a moment, nor by a log whose end cannot be looked up for a while.
func TestTailIsReadAgain(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	web := records(rand.New(rand.NewPCG(3, 3)), "offers.web", 3)
	for _, e := range web[:2] {
		put(t, c, e)
	}
	opened := make(chan error)
	logged := new(lines)
	c.Log = logged.logger()
	go func() {
		cs, err := c.OpenChains(limited(t), 0, ChainOptions{Cursor: upTo(web[2].Pos.S, web), Known: Known{}, End: 1 << 40, Confirm: time.Hour})
		if err == nil {
			cs.Close()
		}
		opened <- err
	}()
	await(t, "a doubt", func() bool { return strings.Contains(logged.String(), "reading it again") })
	put(t, c, web[2])
	if err := <-opened; err != nil {
		t.Error(err)
	}

	// The chain's tail can be read but the log's end cannot: that is not loud.
	if err := c.JS.DeleteStream(limited(t), c.Names.EventsStream(0)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(limited(t))
	go func() {
		_, err := c.OpenChains(ctx, 0, ChainOptions{Cursor: upTo(web[2].Pos.S, web), Known: Known{}, End: 1})
		opened <- err
	}()
	await(t, "a second attempt", func() bool { return strings.Count(logged.String(), "cannot read the chain's tail") > 1 })
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestLatePublish: a publish that arrives long after its writer has given it up
// stores the right next record or nothing.
func TestLatePublish(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	web := records(rand.New(rand.NewPCG(4, 4)), "offers.web", 10)
	cs := openChains(t, c, pipeline.Cursor{}, Known{})
	late := func(e pipeline.Effect, after uint64) {
		m, err := message(c.Names.ChainSubject(e.Chain, 0), e)
		if err != nil {
			t.Fatal(err)
		}
		m.Header.Set("Nats-Expected-Last-Subject-Sequence", fmt.Sprint(after))
		if _, err := c.NC.RequestMsgWithContext(limited(t), m); err != nil {
			t.Fatal(err)
		}
	}
	appendAll(t, cs, web[:3])
	if err := cs.Await(limited(t), upTo(web[2].Pos.S, web[:3])); err != nil {
		t.Fatal(err)
	}
	late(web[1], 1) // it is stored already
	late(web[3], 3) // it is stored now, and the writer finds it
	appendAll(t, cs, web[3:])
	if err := cs.Await(limited(t), upTo(web[9].Pos.S, web)); err != nil {
		t.Fatal(err)
	}
	onlyThese(t, c, map[string][]pipeline.Effect{"offers.web": web})
}

// TestChainCutBack: the broker loses an acknowledged record while the chains
// are open.
func TestChainCutBack(t *testing.T) {
	t.Parallel()
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	web := records(rand.New(rand.NewPCG(5, 5)), "offers.web", 4)
	cs := openChains(t, c, pipeline.Cursor{}, Known{})
	appendAll(t, cs, web[:3])
	if err := cs.Await(limited(t), upTo(web[2].Pos.S, web[:3])); err != nil {
		t.Fatal(err)
	}
	st, err := c.JS.Stream(limited(t), c.Names.OffersStream())
	if err == nil {
		err = st.DeleteMsg(limited(t), 3)
	}
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, cs, web[3:])
	await(t, "an end of the chains", func() bool { return cs.Err() != nil })
	isLoud(t, cs.Err(), "record 3 was acknowledged")
}

// TestChainLeavesOutNumbers: an acceptance continues a chain, or begins one, with a
// number far above the last one. A gap anywhere else is loud.
func TestChainLeavesOutNumbers(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	offer := func(chain string, n, s uint64) pipeline.Effect {
		return pipeline.Effect{Chain: chain, Pos: pipeline.Position{N: n, S: s, T: int64(s) * 1000}, Offer: &pipeline.Offer{ID: fmt.Sprint(chain, n), Channel: "web", User: "ada"}}
	}
	mark := pipeline.Effect{Chain: "offers.web", Pos: pipeline.Position{N: 1001, S: 4, T: 4000}, Mark: &pipeline.Mark{Why: "a disk"}}
	all := []pipeline.Effect{offer("offers.web", 1, 2), offer("offers.web", 2, 3), mark, offer("offers.web", 1002, 5), offer("offers.new", 1001, 5), offer("offers.new", 1002, 6)}
	cs := openChains(t, c, pipeline.Cursor{}, Known{})
	appendAll(t, cs, all)
	if err := cs.Await(limited(t), upTo(6, all)); err != nil {
		t.Fatal(err)
	}
	cs.Close()
	for _, gap := range []pipeline.Effect{offer("offers.web", 1004, 7), offer("offers.new", 2001, 7)} {
		cs := openChains(t, c, upTo(6, all), Known{})
		appendAll(t, cs, []pipeline.Effect{gap})
		if err := cs.Await(limited(t), upTo(7, all, []pipeline.Effect{gap})); !errors.Is(err, ErrLoud) || !strings.Contains(err.Error(), fmt.Sprint("ends at record 1002, the state goes on at record ", gap.Pos.N)) {
			t.Errorf("%s goes on at record %d: %v", gap.Chain, gap.Pos.N, err)
		}
		cs.Close()
	}
	if tails, err := c.ChainTails(limited(t), 0); err != nil || tails["offers.web"].N != 1002 || tails["offers.new"].N != 1002 {
		t.Errorf("the chains end at %+v, %v", tails, err)
	}
}

// TestChainsThatCannotStore: while the stream is full the chains retry; Append
// blocks at maxWaiting; Close and a lost connection end both.
func TestChainsThatCannotStore(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(cs *Chains, c *Conn, cancel func()){
		"room":                  nil,
		"the worker leaves":     func(_ *Chains, _ *Conn, cancel func()) { cancel() },
		"the chains are closed": func(cs *Chains, _ *Conn, _ func()) { go cs.Close() },
		"the connection ends":   func(_ *Chains, c *Conn, _ func()) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			ns := serve(t, embedded.Options{})
			c, operator := dial(t, Options{InProcess: ns}), dial(t, Options{InProcess: ns})
			st, err := operator.JS.Stream(limited(t), c.Names.OffersStream())
			if err != nil {
				t.Fatal(err)
			}
			cfg := st.CachedInfo().Config
			size := cfg.MaxBytes
			limit := func(n int64) {
				cfg.MaxBytes = n
				if _, err := operator.JS.UpdateStream(limited(t), cfg); err != nil {
					t.Fatal(err)
				}
			}
			limit(4000)
			web := records(rand.New(rand.NewPCG(6, 6)), "offers.web", maxWaiting+200)
			last := web[len(web)-1].Pos
			cs := openChains(t, c, pipeline.Cursor{}, Known{})
			ctx, cancel := context.WithCancel(limited(t))
			defer cancel()
			outcome := make(chan error, 2)
			go func() {
				for _, e := range web {
					if err := cs.Append(ctx, e); err != nil {
						outcome <- err
						return
					}
				}
				outcome <- nil
			}()
			go func() { outcome <- cs.Await(ctx, upTo(web[maxWaiting-1].Pos.S-1, web[:maxWaiting])) }()
			await(t, "a full queue", func() bool { records, _ := cs.Waiting(); return records == maxWaiting })
			if end != nil {
				end(cs, c, cancel)
				for range 2 {
					if err := <-outcome; err == nil || errors.Is(err, ErrLoud) {
						t.Errorf("got %v", err)
					}
				}
				return
			}
			limit(size)
			for range 2 {
				if err := <-outcome; err != nil {
					t.Error(err)
				}
			}
			if err := cs.Await(ctx, upTo(last.S, web)); err != nil {
				t.Error(err)
			}
			onlyThese(t, c, map[string][]pipeline.Effect{"offers.web": web})
		})
	}
}

// TestChainsRefuseReconnect: chains need a connection that does not reconnect, as
// what is known of a tail must not outlive the connection.
func TestChainsRefuseReconnect(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Reconnect: true})
	if _, err := c.OpenChains(limited(t), 0, ChainOptions{Known: Known{}, Confirm: soon}); err == nil {
		t.Error("chains were opened over a connection that reconnects by itself")
	}
}

// TestNoRecord: a chain ends with a message that is not a record.
func TestNoRecord(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	if _, err := c.JS.PublishMsg(limited(t), &nats.Msg{Subject: c.Names.OfferSubject("web", 0), Data: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	_, err := c.OpenChains(limited(t), 0, ChainOptions{Known: Known{}, Confirm: soon})
	isLoud(t, err, "not a record of a chain")
}

// TestWithheld: withheld and page records are chains as offers are, whose tails are
// read when they are opened again. They have types of their own, and whoever subscribes
// to offers gets none.
func TestWithheld(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2, Prefix: "x"})
	offers, err := c.NC.SubscribeSync(c.Names.OffersSubjects()[0])
	if err != nil {
		t.Fatal(err)
	}
	record := func(chain string, n, s uint64) pipeline.Effect {
		pos := pipeline.Position{N: n, S: s, T: int64(s) * 1000}
		if chain == "page" {
			return pipeline.Effect{Chain: chain, Pos: pos, Page: &pipeline.PageRecord{ID: fmt.Sprint(chain, n), Type: pipeline.PageMerged, Visitor: "v", User: "ada", Time: "2026-01-01T10:00:00Z"}}
		}
		return pipeline.Effect{Chain: chain, Pos: pos, Offer: &pipeline.Offer{ID: fmt.Sprint(chain, n), Channel: "web", User: "ada", Withheld: chain == "withheld"}}
	}
	all := []pipeline.Effect{record("withheld", 1, 2), record("offers.web", 1, 3), record("page", 1, 3), record("withheld", 2, 4)}
	appendSome := func(cursor pipeline.Cursor, some []pipeline.Effect) *Chains {
		cs := openChains(t, c, cursor, Known{})
		appendAll(t, cs, some)
		if err := cs.Await(limited(t), upTo(some[len(some)-1].Pos.S, all)); err != nil {
			t.Fatal(err)
		}
		cs.Close()
		return cs
	}
	appendSome(pipeline.Cursor{}, all)
	cs := appendSome(upTo(2, all[:1]), all[1:]) // from before: the records are stored already
	if tail := cs.chains["withheld"].tail; tail.N != 2 {
		t.Errorf("the chain was opened at %+v", tail)
	}
	onlyThese(t, c, map[string][]pipeline.Effect{"withheld": {all[0], all[3]}, "offers.web": all[1:2], "page": all[2:3]})
	if tails, err := c.ChainTails(limited(t), 0); err != nil || len(tails) != 3 || tails["withheld"].N != 2 || tails["page"].N != 1 {
		t.Errorf("tails %+v, %v", tails, err)
	}
	for p, want := range []string{"[offers.web page withheld]", "[]"} {
		if names, err := c.OfferChains(limited(t), p); err != nil || fmt.Sprint(names) != want {
			t.Errorf("partition %d has chains %v, %v", p, names, err)
		}
	}
	m, err := c.Wire.Last(limited(t), c.Names.OffersStream(), c.Names.WithheldSubject(0))
	if err != nil || m.Header.Get("ce-type") != "offerstream.withheld" || !strings.HasSuffix(string(m.Data), `"withheld":true}`) {
		t.Errorf("%v %s, %v", m.Header, m.Data, err)
	}
	m, err = c.Wire.Last(limited(t), c.Names.OffersStream(), c.Names.PageSubject(0))
	if err != nil || m.Header.Get("ce-type") != "offerstream.merged" || m.Header.Get("ce-id") != "page1" || m.Header.Get("ce-subject") != "ada" || string(m.Data) != `{"type":"merged","visitor":"v","user":"ada","time":"2026-01-01T10:00:00Z"}` {
		t.Errorf("%v %s, %v", m.Header, m.Data, err)
	}
	got, err := offers.NextMsg(5 * time.Second)
	if err != nil || got.Subject != "x.offers.web.0" || got.Header.Get("ce-type") != "offerstream.offer" {
		t.Errorf("%+v, %v", got, err)
	}
	if n, _, err := offers.Pending(); n != 0 || err != nil {
		t.Errorf("a subscriber has %d more messages, %v", n, err)
	}
}
