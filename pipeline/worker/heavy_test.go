package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/state"
)

// products returns a set in which a user may hold thousands of products.
func products(t *testing.T) *campaign.Definition {
	def := views(t, 3)
	def.Bounds.Keys = 4096
	def.Features = append(def.Features, campaign.Feature{Name: "products", On: []string{"Product Viewed"}, Agg: "count", By: "event.properties.product_id"})
	return def
}

// heavyPacks returns the events after which the user holds as much as it may: the
// products' names have characters that take six bytes in JSON.
func heavyPacks(user string) (packs []scripted) {
	var pack strings.Builder
	for i := range 4096 {
		fmt.Fprintf(&pack, `{"type":"track","event":"Product Viewed","userId":%q,"messageId":"h%d","properties":{"product_id":"%s%d"}}`+"\n", user, i, strings.Repeat(`\u0001`, 74), i)
		if i%512 == 511 {
			packs = append(packs, scripted{0, []byte(pack.String())})
			pack.Reset()
		}
	}
	return packs
}

// shown asks the worker about a user, as offerctl does.
func shown(t *testing.T, c *broker.Conn, key string) (u pipeline.User, bytes int) {
	t.Helper()
	q, err := json.Marshal(broker.Query{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	var a broker.Answer
	err = c.Ask(within(t), c.Names.QuerySubject(0), q, func(answer []byte) bool {
		bytes, err = len(answer), json.Unmarshal(answer, &a)
		return true
	})
	if err = errors.Join(err, json.Unmarshal(a.User, &u)); err != nil || a.Error != "" {
		t.Fatalf("%s is not shown: %v, %s", key, err, a.Error)
	}
	return u, bytes
}

// TestHeavyUser: a user that holds as much as it may is shown, restored from a
// snapshot, verified, and taken over by an acceptance.
func TestHeavyUser(t *testing.T) {
	t.Parallel()
	ns := startNATS(t, t.TempDir(), -1)
	c := connect(t, ns.ClientURL(), 1)
	def := products(t)
	hash := apply(t, c, def)
	dir := t.TempDir()
	often := func(o *Options) { o.Snapshot = 50 * time.Millisecond }
	w := start(t, ns.ClientURL(), dir, often)
	w.inForce(t, hash)
	publish(t, c, heavyPacks("heavy"))
	publish(t, c, []scripted{{0, view(1, "ada")}})
	w.applied(t, c)
	before, bytes := shown(t, c, "u:heavy")
	var held map[string]int
	if err := json.Unmarshal(before.Features["products"], &held); err != nil {
		t.Fatal(err)
	}
	t.Logf("the user has %d products; what is known of it takes %d bytes", len(held), bytes)
	if bytes < 1<<20 || len(held) < 1000 {
		t.Error("that is too little for this test")
	}
	verified(t, c)
	snapshotted(t, c)
	w.stop(t)
	metas, err := c.Snapshots(within(t), 0)
	if err != nil || metas[0].Bytes < 200_000 {
		t.Fatalf("snapshots %+v, %v", metas, err)
	}

	again := func(what string, opt *audit.VerifyOptions) {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		w := start(t, ns.ClientURL(), dir, often)
		publish(t, c, []scripted{{0, view(2, "ada")}})
		w.applied(t, c)
		after, _ := shown(t, c, "u:heavy")
		if after.Now = before.Now; !reflect.DeepEqual(after, before) {
			t.Errorf("%s: the user is another: %d events, %d before", what, after.Events, before.Events)
		}
		if v, err := audit.Verify(within(t), c, opt); err != nil || !v.OK() {
			t.Errorf("%s: %+v, %v", what, v, err)
		}
		w.stop(t)
		checked(t, c, dir)
	}
	st, err := c.JS.Stream(within(t), c.Names.EventsStream(0))
	if err == nil {
		err = st.Purge(within(t), jetstream.WithPurgeSequence(metas[0].Seq+1)) // what the snapshot has
	}
	if err != nil {
		t.Fatal(err)
	}
	again("restored", &audit.VerifyOptions{FromSnapshot: true})

	if _, err := audit.Accept(within(t), c, audit.AcceptOptions{Partition: 0, Why: "a test", Dir: t.TempDir(), Log: quiet(), Lost: func(audit.Example) {},
		Connect: func(ctx context.Context) (*broker.Conn, error) {
			return broker.Connect(ctx, broker.Options{URL: ns.ClientURL(), Client: "accept", Log: quiet()})
		}}); err != nil {
		t.Fatal(err)
	}
	again("accepted", &audit.VerifyOptions{FromSnapshot: true})
}

// checked checks a directory that a worker has left.
func checked(t *testing.T, c *broker.Conn, dir string) {
	t.Helper()
	s, err := openState(dir+"/partition-0", state.Options{Identity: state.Identity{Prefix: c.Names.Prefix, Partitions: 1}, MemTable: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Check(func(key string, b []byte) (int64, error) {
		e, err := pipeline.DecodeEntity(key, b)
		if err != nil {
			return 0, err
		}
		return e.Due(), nil
	})
	if err != nil || r.Bytes < 200_000 {
		t.Errorf("%+v, %v", r, err)
	}
}
