package broker

import (
	"math/rand/v2"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker/embedded"
)

// batches counts the batches in the stream of offers, and the records that are in none.
func batches(t *testing.T, c *Conn) (together, alone int) {
	t.Helper()
	ids := map[string]bool{}
	st, err := c.JS.Stream(limited(t), c.Names.OffersStream())
	if err != nil {
		t.Fatal(err)
	}
	state := st.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := st.GetMsg(limited(t), seq)
		if err != nil {
			t.Fatal(err)
		}
		if id := m.Header.Get(headerBatch); id != "" {
			ids[id] = true
		} else {
			alone++
		}
	}
	return len(ids), alone
}

// TestBatch: records that wait go as batches, those of a fold that is behind also while
// there is nothing else to wait for, and each is stored once.
func TestBatch(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	if c.least != leastBatched {
		t.Fatalf("batches from %d records on", c.least)
	}
	c.least = 2
	all := records(rand.New(rand.NewPCG(1, 0)), "offers.web", 3000) // more than a batch may have
	cs := openChains(t, c, pipeline.Cursor{}, Known{})
	cs.SetBehind(true)
	appendAll(t, cs, all[:2500])
	if err := cs.Await(limited(t), upTo(all[2499].Pos.S, all[:2500])); err != nil {
		t.Fatal(err)
	}
	appendAll(t, cs, all[2500:])
	cs.SetBehind(false)
	if err := cs.Await(limited(t), upTo(all[2999].Pos.S, all)); err != nil {
		t.Fatal(err)
	}
	onlyThese(t, c, map[string][]pipeline.Effect{"offers.web": all})
	if together, alone := batches(t, c); together == 0 {
		t.Errorf("%d batches, %d records alone", together, alone)
	}
}

// TestBatchBehindAnother: a batch behind a tail that another writer has moved on stores
// nothing. The tail tells what is left of it.
func TestBatchBehindAnother(t *testing.T) {
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s})
	all := records(rand.New(rand.NewPCG(2, 0)), "offers.web", 300)
	cs := openChains(t, c, pipeline.Cursor{}, Known{})
	cs.SetBehind(true)
	appendAll(t, cs, all[:1])
	if err := cs.Await(limited(t), upTo(all[0].Pos.S, all[:1])); err != nil { // the tail is known now
		t.Fatal(err)
	}
	for _, e := range all[1:100] {
		put(t, c, e)
	}
	appendAll(t, cs, all[1:])
	if err := cs.Await(limited(t), upTo(all[299].Pos.S, all)); err != nil {
		t.Fatal(err)
	}
	onlyThese(t, c, map[string][]pipeline.Effect{"offers.web": all})
}

// TestStreamWithoutBatches: a stream of an earlier version is made to take batches; where
// it does not, records go one by one.
func TestStreamWithoutBatches(t *testing.T) {
	s := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: s})
	refuse := func() {
		t.Helper()
		st, err := c.JS.Stream(limited(t), "OFFERS")
		if err != nil {
			t.Fatal(err)
		}
		config := st.CachedInfo().Config
		config.AllowAtomicPublish = false
		if _, err := c.JS.UpdateStream(limited(t), config); err != nil {
			t.Fatal(err)
		}
	}
	refuse()
	all := records(rand.New(rand.NewPCG(3, 0)), "offers.web", 300)
	cs := openChains(t, c, pipeline.Cursor{}, Known{}) // this connection does not know
	cs.SetBehind(true)
	appendAll(t, cs, all[:200])
	if err := cs.Await(limited(t), upTo(all[199].Pos.S, all[:200])); err != nil {
		t.Fatal(err)
	}
	if together, alone := batches(t, c); together != 0 || alone != 200 {
		t.Errorf("%d batches, %d records alone", together, alone)
	}
	c.setBatches(jetstream.StreamConfig{})
	appendAll(t, cs, all[200:])
	if err := cs.Await(limited(t), upTo(all[299].Pos.S, all)); err != nil {
		t.Fatal(err)
	}
	onlyThese(t, c, map[string][]pipeline.Effect{"offers.web": all})

	if next := dial(t, Options{InProcess: s}); next.least != leastBatched {
		t.Errorf("the next connection batches from %d records on", next.least)
	}
	st, err := c.JS.Stream(limited(t), "OFFERS")
	if err != nil || !st.CachedInfo().Config.AllowAtomicPublish {
		t.Errorf("the stream was not changed: %v", err)
	}
}

// TestBatched: what goes together.
func TestBatched(t *testing.T) {
	offer := func(n uint64) pipeline.Effect { return pipeline.Effect{Pos: pipeline.Position{N: n}} }
	mark, dead := offer(900), offer(3)
	mark.Mark, dead.Dead = &pipeline.Mark{}, &pipeline.Dead{}
	large := offer(1)
	large.Offer = &pipeline.Offer{Data: make([]byte, mostBatchedBytes/2)}
	var many []pipeline.Effect
	for n := range uint64(mostBatched + 5) {
		many = append(many, offer(n+1))
	}
	for _, is := range []struct {
		waiting []pipeline.Effect
		least   int
		want    int
	}{
		{nil, 2, 0},
		{many[:1], 2, 1},
		{many[:3], 4, 1},
		{many[:4], 4, 4},
		{many, 4, mostBatched},
		{many, 0, 1},
		{[]pipeline.Effect{offer(1), offer(2), mark, offer(901)}, 2, 2},
		{[]pipeline.Effect{mark, offer(901), offer(902)}, 2, 1},
		{[]pipeline.Effect{offer(1), offer(2), dead, offer(4)}, 2, 2},
		{[]pipeline.Effect{large, offer(2), offer(3)}, 2, 3},
		{numbered(large, large, large), 2, 2},
		{[]pipeline.Effect{offer(1), offer(3)}, 2, 1}, // put refuses what follows
	} {
		if got := batched(is.waiting, is.least); got != is.want {
			t.Errorf("%d of %d records from %d on, want %d", got, len(is.waiting), is.least, is.want)
		}
	}
}

// numbered numbers records from 1 on.
func numbered(all ...pipeline.Effect) []pipeline.Effect {
	for i := range all {
		all[i].Pos.N = uint64(i + 1)
	}
	return all
}
