package broker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker/embedded"
)

// theMails returns n mails of partition 0 to partition q, in generation g.
func theMails(rng *rand.Rand, q, n int, g int64) []pipeline.Effect {
	all := records(rng, pipeline.MailChain(q), n)
	for i := range all {
		all[i].Offer, all[i].Pos.G, all[i].Mail = nil, g, fmt.Appendf(nil, "mail %d of %d", all[i].Pos.N, g)
	}
	return all
}

// readMails returns the messages of mails in partition q's log, each as its mails.
func readMails(t *testing.T, c *Conn, q int) (packs [][]pipeline.Effect) {
	t.Helper()
	err := c.ScanLog(limited(t), q, 1, func(m pipeline.Message) error {
		if m.Kind != pipeline.From || m.From != 0 {
			return fmt.Errorf("message %d is of kind %d, from %d", m.Seq, m.Kind, m.From)
		}
		var pack []pipeline.Effect
		err := pipeline.EachPacked(m.Data, func(at pipeline.Position, mail []byte) error {
			pack = append(pack, pipeline.Effect{Chain: pipeline.MailChain(q), Pos: at, Mail: bytes.Clone(mail)})
			return nil
		})
		packs = append(packs, pack)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

// onlyTheseMails checks that partition q's log has exactly these mails, in order.
func onlyTheseMails(t *testing.T, c *Conn, q int, want []pipeline.Effect) {
	t.Helper()
	var got []pipeline.Effect
	for _, pack := range readMails(t, c, q) {
		got = append(got, pack...)
	}
	if len(got) != len(want) {
		t.Fatalf("partition %d has %d mails, want %d", q, len(got), len(want))
	}
	for i, e := range want {
		if got[i].Pos != e.Pos || !bytes.Equal(got[i].Mail, e.Mail) {
			t.Fatalf("partition %d: mail %d is %+v, want %+v", q, i+1, got[i], e)
		}
	}
}

// expireLog removes the beginning of partition q's log, as its age does.
func expireLog(t *testing.T, c *Conn, q int, first uint64) {
	t.Helper()
	st, err := c.JS.Stream(limited(t), c.Names.EventsStream(q))
	if err == nil {
		err = st.Purge(limited(t), jetstream.WithPurgeSequence(first))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sent returns the cursor after all of these mails, as the chains complete it at a
// checkpoint.
func sent(t *testing.T, cs *Chains, all ...[]pipeline.Effect) pipeline.Cursor {
	t.Helper()
	last := uint64(0)
	for _, es := range all {
		last = max(last, es[len(es)-1].Pos.S)
	}
	c := upTo(last, all...)
	if err := cs.Await(limited(t), c); err != nil {
		t.Fatal(err)
	}
	cs.Sent(c)
	return c
}

// TestMailsContend lets several writers publish the same mails at once, each from
// another checkpoint: each mail is stored once, many in one message.
func TestMailsContend(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	ns := serve(t, embedded.Options{})
	rng := rand.New(rand.NewPCG(seed, 0))
	to0, to3 := theMails(rng, 0, 2000, 0), theMails(rng, 3, 1500, 0)
	end := max(to0[len(to0)-1].Pos.S, to3[len(to3)-1].Pos.S)
	var writers sync.WaitGroup
	for w := range 3 {
		c := dial(t, Options{InProcess: ns})
		rng := rand.New(rand.NewPCG(seed, uint64(w)))
		writers.Go(func() {
			cursor, known := pipeline.Cursor{}, Known{}
			for cursor.Seq < end {
				cs, err := c.OpenChains(limited(t), 0, ChainOptions{Cursor: cursor, Known: known, End: 1 << 40, Confirm: soon})
				if err != nil {
					t.Error(err)
					return
				}
				to := min(cursor.Seq+rng.Uint64N(600), end)
				for _, chain := range [][]pipeline.Effect{to0, to3} {
					for _, e := range chain {
						if e.Pos.S > cursor.Seq && e.Pos.S <= to {
							if err := cs.Append(limited(t), e); err != nil {
								t.Error(err)
							}
						}
					}
				}
				if rng.IntN(3) > 0 { // otherwise it dies before its checkpoint
					next := upTo(to, to0, to3)
					if err := cs.Await(limited(t), next); err != nil {
						t.Error(err)
					}
					cs.Sent(next)
					cursor = next
				}
				cs.Close()
			}
		})
	}
	writers.Wait()
	c := dial(t, Options{InProcess: ns})
	onlyTheseMails(t, c, 0, to0)
	onlyTheseMails(t, c, 3, to3)
	if packs := len(readMails(t, c, 0)); packs > len(to0)/2 {
		t.Errorf("%d mails are in %d messages", len(to0), packs)
	}
	tail, err := c.MailTail(limited(t), 0, 3)
	if err != nil || tail.Position != to3[len(to3)-1].Pos {
		t.Errorf("the tail is %+v: %v", tail, err)
	}
	if tail, err = c.MailTail(limited(t), 0, 1); err != nil || tail != (ChainTail{}) {
		t.Errorf("the tail of nothing is %+v: %v", tail, err)
	}
}

// TestMailsThatExpired: T2. A tail before what is known stored is a loss while the
// receiver's log reaches back to it, and otherwise age.
func TestMailsThatExpired(t *testing.T) {
	t.Parallel()
	mails := theMails(rand.New(rand.NewPCG(6, 6)), 1, 30, 0)
	chain := pipeline.MailChain(1)
	for _, tc := range []struct {
		name, words string
		first       uint64 // the log begins there
		late        bool   // an old pack is published late
	}{
		{"it has all", "", 1, false},
		{"all has expired", "", 3, false},
		{"an old pack comes late", "", 3, true},
		{"the last message is lost", "record 20 was acknowledged", 1, false},
	} {
		for _, again := range []bool{false, true} { // whether the writer has restarted since
			t.Run(fmt.Sprint(tc.name, again), func(t *testing.T) {
				c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
				known := Known{}
				cs := openChains(t, c, pipeline.Cursor{}, known)
				appendAll(t, cs, mails[:10])
				sent(t, cs, mails[:10])
				appendAll(t, cs, mails[10:20])
				cursor := sent(t, cs, mails[:20])
				if sent := cursor.Chains[chain].Sent; sent < 2 {
					t.Fatalf("message %d is the last one stored", sent)
				}
				if tc.first > 1 {
					expireLog(t, c, 1, cursor.Chains[chain].Sent+1)
				}
				if tc.words != "" {
					st, err := c.JS.Stream(limited(t), c.Names.EventsStream(1))
					if err == nil {
						err = st.DeleteMsg(limited(t), cursor.Chains[chain].Sent)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				if tc.late {
					if _, err := c.PublishMails(limited(t), 0, mails[:4], 0); err != nil {
						t.Fatal(err)
					}
				}
				if again {
					cs.Close()
					var err error
					cs, err = c.OpenChains(limited(t), 0, ChainOptions{Cursor: cursor, Known: Known{}, End: 1 << 40, Confirm: soon})
					if tc.words != "" {
						isLoud(t, err, tc.words)
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(cs.Close)
				}
				appendAll(t, cs, mails[20:])
				if tc.words != "" {
					await(t, "an end of the chains", func() bool { return cs.Err() != nil })
					isLoud(t, cs.Err(), tc.words)
					return
				}
				sent(t, cs, mails)
				var want []pipeline.Effect
				switch {
				case tc.first == 1:
					want = mails
				case tc.late:
					want = append(append(want, mails[:4]...), mails[20:]...)
				default:
					want = mails[20:]
				}
				onlyTheseMails(t, c, 1, want)
			})
		}
	}
}

// TestMailsAfterAcceptance: T1. Numbers begin anew with an acceptance, behind whatever
// the chain ends with, and a tail of the same number is compared whole.
func TestMailsAfterAcceptance(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	before, after := theMails(rng, 1, 20, 0), theMails(rng, 1, 10, 5000)
	for i := range after {
		after[i].Pos.N, after[i].Pos.S = uint64(i), after[i].Pos.S+before[19].Pos.S
	}
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	if _, err := c.PublishMails(limited(t), 0, before, 0); err != nil {
		t.Fatal(err)
	}
	// The fold of what is left of its log gave 12 mails before the acceptance.
	cs := openChains(t, c, upTo(before[11].Pos.S, before[:12]), Known{})
	appendAll(t, cs, after)
	cursor := sent(t, cs, after)
	onlyTheseMails(t, c, 1, append(append([]pipeline.Effect{}, before...), after...))
	cs.Close()

	last := cursor.Chains[pipeline.MailChain(1)]
	last.Last.T++
	cursor.Chains[pipeline.MailChain(1)] = last
	_, err := c.OpenChains(limited(t), 0, ChainOptions{Cursor: cursor, Known: Known{}, End: 1 << 40, Confirm: soon})
	isLoud(t, err, "the state has")
}

// TestMailTooLarge: a mail that no message can take is loud; a pack is cut.
func TestMailTooLarge(t *testing.T) {
	ns := serve(t, embedded.Options{})
	c := dial(t, Options{InProcess: ns})
	mails := theMails(rand.New(rand.NewPCG(8, 8)), 1, 3, 0)
	mails[1].Mail = make([]byte, pipeline.MostPacked+1)
	cs := openChains(t, c, pipeline.Cursor{}, Known{})
	appendAll(t, cs, mails)
	sent(t, cs, mails)
	onlyTheseMails(t, c, 1, mails)
	mails[0].Mail = make([]byte, 2<<20)
	mails[0].Chain = pipeline.MailChain(2)
	appendAll(t, cs, mails[:1])
	await(t, "an end of the chains", func() bool { return cs.Err() != nil })
	isLoud(t, cs.Err(), "max_payload")
}

// TestMailsWait: too many bytes of mails hold the fold up, and a follower's wait for
// their owner.
func TestMailsWait(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{})})
	mails := theMails(rand.New(rand.NewPCG(9, 9)), 1, 200, 0)
	for i := range mails {
		mails[i].Mail = []byte(strings.Repeat("x", pipeline.MostPacked))
	}
	cs := openChains(t, c, pipeline.Cursor{}, Known{})
	cs.SetMuted(true)
	done := make(chan error)
	go func() {
		for _, e := range mails {
			if err := cs.Append(limited(t), e); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	most := maxWaitingBytes / pipeline.MostPacked
	await(t, "a full queue", func() bool { records, mails := cs.Waiting(); return records == most && mails == most })
	select {
	case err := <-done:
		t.Fatalf("all mails wait, %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	cs.SetMuted(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sent(t, cs, mails)
	if records, _ := cs.Waiting(); records != 0 {
		t.Errorf("%d records wait", records)
	}
	onlyTheseMails(t, c, 1, mails)
}
