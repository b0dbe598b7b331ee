package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// logged is what the logs say about a user.
type logged struct {
	events  uint64 // number of events, each counted once
	views   uint64
	claimed []string // keys of the users who said that this visitor is theirs
}

// audit compares the acknowledged events, the logs, the applied events and the
// offers. It counts on its own, and then also runs Verify and offerctl verify.
func (ch *chaos) audit(l *load) {
	t := ch.t
	t.Helper()
	for _, r := range l.refused {
		t.Errorf("an event was refused: %s", r)
	}
	begin := time.Now()
	users, copies := ch.logs(l)
	lost, acked, lines := 0, l.acknowledged(), 0
	for id, ok := range l.made {
		if lines += copies[id]; ok && copies[id] == 0 {
			if lost++; lost <= 10 {
				t.Errorf("event %s was acknowledged and is in no log", id)
			}
		}
	}
	if acked < len(l.made) {
		t.Errorf("%d of %d events were never acknowledged", len(l.made)-acked, len(l.made))
	}
	people, doubled := ch.applied(users)
	folds := map[int]*pipeline.Fold{}
	v, err := audit.Verify(within(t), ch.conn, &audit.VerifyOptions{Settle: 10 * time.Second, Watch: func(p int, f *pipeline.Fold, _ pipeline.Memory) { folds[p] = f }})
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK() {
		t.Errorf("Verify: %+v", v)
	}
	if v.Offers == 0 || v.Trimmed > 0 {
		t.Errorf("%d offers, of which %d were trimmed: the test shows nothing", v.Offers, v.Trimmed)
	}
	if c := ch.offerctlVerify(); !c.OK() || c.Applied != v.Applied || c.Offers < v.Offers || c.Stored < v.Stored {
		t.Errorf("offerctl verify says %+v, Verify %+v", c.Sums, v.Sums)
	}
	ch.folded(people, folds)
	pause, where := ch.offers(users, people)
	if d, err := ch.conn.JS.Stream(within(t), ch.conn.Names.DeadStream()); err != nil || d.CachedInfo().State.Msgs > 0 {
		t.Errorf("dead letters: %+v, %v", d.CachedInfo().State, err)
	}
	t.Logf("events: %d made, %d acknowledged in %d requests of which %d failed, %d stand in the logs, %d once more than once", len(l.made), acked, l.attempts, l.failed, len(copies), lines-len(copies))
	t.Logf("offers: %d stored; missing %d, double %d, different %d, extra %d; events lost %d, applied twice %d", v.Stored, v.Missing, v.Duplicate, v.Different, v.Extra, lost, doubled)
	t.Logf("mails: %+v", v.Mails)
	t.Logf("longest pause: %v of %s; audited in %v", pause.Round(time.Millisecond), where, time.Since(begin).Round(time.Millisecond))
}

// logs reads all logs. It returns each user's events, and how often each event is
// in a log.
func (ch *chaos) logs(l *load) (users map[string]*logged, copies map[string]int) {
	t := ch.t
	users, copies = map[string]*logged{}, map[string]int{}
	for p := range chaosPartitions {
		err := ch.conn.ScanLog(within(t), p, 0, func(m pipeline.Message) error {
			if m.Kind != pipeline.In {
				return nil
			}
			for line := range bytes.Lines(m.Data) {
				var e chaosEvent
				if err := json.Unmarshal(line, &e); err != nil {
					return err
				}
				if e.Type == "codes" {
					continue
				}
				if _, ok := l.made[e.MessageID]; !ok {
					return fmt.Errorf("nobody made event %s", e.MessageID)
				}
				key := e.key()
				if event.Partition(key, chaosPartitions) != p {
					return fmt.Errorf("event %s of %s is in partition %d", e.MessageID, key, p)
				}
				if copies[e.MessageID]++; copies[e.MessageID] > 1 {
					continue
				}
				if e.Type == "item" {
					continue
				}
				of := func(key string) *logged {
					if users[key] == nil {
						users[key] = &logged{}
					}
					return users[key]
				}
				of(key).events++
				if e.Event == "Product Viewed" {
					of(key).views++
				}
				if visitor := e.claims(); visitor != "" {
					of(visitor).claimed = append(of(visitor).claimed, key)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return users, copies
}

// A sentOffer is a stored offer.
type sentOffer struct {
	caused, stored time.Time
}

// offers checks the stored offers: each once, numbered without gaps, one for each
// third view in the log of a user who has become no other and whom no visitor became,
// and no more than budgets and pools allow. It returns the longest time from the storing of an event
// that causes an offer to the storing of that offer, if no other offer of the
// partition came meanwhile.
func (ch *chaos) offers(users map[string]*logged, people map[string]*person) (pause time.Duration, where string) {
	t := ch.t
	ids, numbers, thirds := map[string]bool{}, map[string]uint64{}, map[string][]string{}
	byPartition, given := make([][]sentOffer, chaosPartitions), newGiven()
	for p := range chaosPartitions {
		ch.eachOffer(p, func(m jetstream.Msg) error {
			pos, err := broker.ParsePosition(m.Headers())
			if err != nil {
				return err
			}
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			var o pipeline.Offer
			if err := json.Unmarshal(m.Data(), &o); err != nil {
				return err
			}
			if ids[o.ID] {
				t.Errorf("%s %d: offer %s is there twice", m.Subject(), pos.N, o.ID)
			}
			ids[o.ID] = true
			if numbers[m.Subject()]++; numbers[m.Subject()] != pos.N {
				t.Fatalf("%s: %d follows %d", m.Subject(), pos.N, numbers[m.Subject()]-1)
			}
			if err := given.take(t, &o); err != nil {
				return err
			}
			if o.Campaign == "third" {
				key := o.Entity()
				var d struct{ N json.Number }
				if err := json.Unmarshal(o.Data, &d); err != nil {
					return err
				}
				thirds[key] = append(thirds[key], d.N.String())
			}
			byPartition[p] = append(byPartition[p], sentOffer{time.Unix(0, pos.T), meta.Timestamp})
			return nil
		})
	}
	ch.spent(given)
	for key, u := range users {
		if p := people[key]; p.view.Owner != "" || len(p.was) > 0 {
			continue
		}
		var want []string
		for n := uint64(3); n <= u.views; n += 3 {
			want = append(want, fmt.Sprint(n))
		}
		if !slices.Equal(thirds[key], want) {
			t.Errorf("%s has %d views in the log, and got the offers of %s", key, u.views, strings.Join(thirds[key], ", "))
		}
	}
	for p, all := range byPartition {
		for i := 1; i < len(all); i++ {
			from := all[i-1].stored
			if all[i].caused.After(from) {
				from = all[i].caused
			}
			if d := all[i].stored.Sub(from); d > pause {
				pause, where = d, fmt.Sprintf("partition %d, until %s", p, value.FormatTime(all[i].stored.UnixNano()))
			}
		}
	}
	ch.restarts(byPartition)
	return pause, where
}

// restarts logs, for each worker that was killed and whose partitions are known,
// the time from its restart to its first offer.
func (ch *chaos) restarts(byPartition [][]sentOffer) {
	var took []time.Duration
	for _, d := range ch.deaths {
		first := time.Duration(-1)
		for _, p := range d.own {
			i := slices.IndexFunc(byPartition[p], func(o sentOffer) bool { return o.stored.After(d.again) })
			if i >= 0 && (first < 0 || byPartition[p][i].stored.Sub(d.again) < first) {
				first = byPartition[p][i].stored.Sub(d.again)
			}
		}
		if first >= 0 {
			took = append(took, first.Round(time.Millisecond))
		}
	}
	ch.t.Logf("from the start after kill -9 to the first offer of what the worker had owned: %v, with whatever other faults there were", took)
}

// eachOffer calls fn with each offer of a partition, in the order of storing.
func (ch *chaos) eachOffer(p int, fn func(jetstream.Msg) error) {
	t := ch.t
	c := ch.conn
	con, err := c.JS.CreateConsumer(within(t), c.Names.OffersStream(), jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, FilterSubject: c.Names.OffersOf(p), MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	for left := con.CachedInfo().NumPending; left > 0; {
		batch, err := con.Fetch(int(min(left, 500)), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		n := uint64(0)
		for m := range batch.Messages() {
			n++
			if err := fn(m); err != nil {
				t.Fatalf("%s: %v", m.Subject(), err)
			}
		}
		if left -= min(n, left); n == 0 {
			t.Fatalf("the offers of partition %d end %d too early: %v", p, left, batch.Error())
		}
	}
}
