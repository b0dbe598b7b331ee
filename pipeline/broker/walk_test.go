package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker/embedded"
)

// store publishes records 1 to n of a chain in partition p.
func store(t *testing.T, c *Conn, chain string, p, n int) {
	t.Helper()
	for i := 1; i <= n; i++ {
		m := &nats.Msg{Subject: c.Names.ChainSubject(chain, p), Header: nats.Header{}, Data: []byte(fmt.Sprint(i))}
		putPosition(m.Header, pipeline.Position{N: uint64(i), S: uint64(i), T: 1})
		m.Header["ce-id"] = []string{fmt.Sprint(chain, i)}
		if _, err := c.JS.PublishMsg(limited(t), m); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWalkChain walks one of several chains to its end, and further when more is
// stored, while an operator deletes the consumers.
func TestWalkChain(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2, Prefix: "x"})
	ctx := limited(t)
	store(t, c, "offers.web", 0, 30)
	store(t, c, "offers.web", 1, 5)
	store(t, c, "offers.sms", 1, 7)
	store(t, c, "offers.web", 0, 220)
	if names, err := c.OfferChains(ctx, 1); err != nil || fmt.Sprint(names) != "[offers.sms offers.web]" {
		t.Errorf("chains of partition 1: %v, %v", names, err)
	}
	w, err := c.WalkChain(ctx, "offers.web", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	offers, err := c.JS.Stream(ctx, c.Names.OffersStream())
	if err != nil {
		t.Fatal(err)
	}
	walk := func(from, to int) {
		t.Helper()
		for i := from; i <= to; i++ {
			r, seq, err := w.Next(ctx)
			if err != nil || seq == 0 || r.Pos.N != uint64(i) || r.ID != fmt.Sprint("offers.web", i) || string(r.Data) != fmt.Sprint(i) || r.Chain != "offers.web" {
				t.Fatalf("record %d: %+v, seq %d, %v", i, r, seq, err)
			}
			if i%70 == 0 {
				for name := range offers.ConsumerNames(ctx).Name() {
					if err := offers.DeleteConsumer(ctx, name); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	end := func() {
		t.Helper()
		if r, seq, err := w.Next(ctx); seq != 0 || err != nil {
			t.Fatalf("behind the last: %+v, seq %d, %v", r, seq, err)
		}
	}
	walk(1, 30)
	walk(1, 220)
	end()
	end()
	store(t, c, "offers.web", 0, 3)
	walk(1, 3)
	end()
	w.used = time.Time{} // as if the walk had paused for long
	store(t, c, "offers.web", 0, 2)
	walk(1, 2)
	end()
	if n, seq, err := w.Oldest(ctx); n != 1 || seq != 1 || err != nil {
		t.Errorf("the oldest is %d at %d, %v", n, seq, err)
	}
	if err := offers.Purge(ctx, jetstream.WithPurgeSubject("x.offers.web.0"), jetstream.WithPurgeKeep(1)); err != nil {
		t.Fatal(err)
	}
	if n, seq, err := w.Oldest(ctx); n != 2 || seq != 267 || err != nil {
		t.Errorf("the oldest is %d at %d, %v", n, seq, err)
	}
	if seq, err := w.Last(ctx); seq != 267 || err != nil {
		t.Errorf("the last is at %d, %v", seq, err)
	}
	w.Close()
	info, err := offers.Info(ctx)
	if err != nil || info.State.Consumers != 0 {
		t.Errorf("it leaves %d consumers, %v", info.State.Consumers, err)
	}

	none, err := c.WalkChain(ctx, "offers.push", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if _, seq, err := none.Next(ctx); seq != 0 || err != nil {
		t.Errorf("an empty chain: seq %d, %v", seq, err)
	}
	if n, seq, err := none.Oldest(ctx); n != 0 || seq != 0 || err != nil {
		t.Errorf("an empty chain's oldest is %d at %d, %v", n, seq, err)
	}
}

func TestScanDeadLetters(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2, Prefix: "x"})
	ctx := limited(t)
	scan := func(source string, since time.Time, newest int) (ids []string) {
		t.Helper()
		if err := c.ScanDeadLetters(ctx, source, since, newest, func(d *DeadLetter) error {
			ids = append(ids, fmt.Sprintf("%s %s %q %s", d.ID(), d.Reason, d.Detail, d.Raw))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if ids := scan("", time.Time{}, 10); ids != nil {
		t.Errorf("of none: %v", ids)
	}
	letter := func(subject string, pos pipeline.Position, dead pipeline.Dead) *jetstream.PubAck {
		t.Helper()
		m, err := message(subject, pipeline.Effect{Pos: pos, Dead: &dead})
		if err != nil {
			t.Fatal(err)
		}
		ack, err := c.JS.PublishMsg(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		return ack
	}
	for i := range 20 {
		letter(c.Names.DeadSubject(1), pipeline.Position{N: uint64(i + 1), S: 7}, pipeline.Dead{Reason: "panic", Detail: "a\nb%", Raw: []byte{'0' + byte(i)}})
	}
	for range 20 { // as gateways stored them before they packed them
		letter(c.Names.DeadGateway(), pipeline.Position{}, pipeline.Dead{Reason: "json", Raw: []byte("{")})
	}
	dead, err := c.JS.Stream(ctx, c.Names.DeadStream())
	if err != nil {
		t.Fatal(err)
	}
	m, err := dead.GetMsg(ctx, 31)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		source      string
		since       time.Time
		newest      int
		n           int
		first, last string
	}{
		{"", time.Time{}, 0, 40, `1/1 panic "a\nb%" 0`, `gateway/40 json "" {`},
		{"", time.Time{}, 25, 25, `1/16 panic "a\nb%" ?`, `gateway/40 json "" {`},
		{"1", time.Time{}, 0, 20, `1/1 panic "a\nb%" 0`, `1/20 panic "a\nb%" C`},
		{"gateway", time.Time{}, 1, 1, `gateway/40 json "" {`, `gateway/40 json "" {`},
		{"gateway", m.Time, 0, 10, `gateway/31 json "" {`, `gateway/40 json "" {`},
		{"1", m.Time, 0, 0, "", ""},
		{"0", time.Time{}, 0, 0, "", ""},
	} {
		ids := scan(tc.source, tc.since, tc.newest)
		if len(ids) != tc.n || tc.n > 0 && (ids[0] != tc.first || ids[tc.n-1] != tc.last) {
			t.Errorf("%q since %v, the newest %d: %d: %v", tc.source, tc.since, tc.newest, len(ids), ids)
		}
	}
}

// TestScanPackedLetters: letters of a gateway are shown one by one, whether they
// are packed or not, between those of the workers, byte for byte; and the newest of
// them are, whatever their messages hold.
func TestScanPackedLetters(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2, Prefix: "x"})
	ctx := limited(t)
	g := openLog(t, c)
	publish := func(m *nats.Msg) {
		t.Helper()
		if _, err := c.JS.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	single := func(subject string, n uint64, raw string) {
		t.Helper()
		m, err := message(subject, pipeline.Effect{Pos: pipeline.Position{N: n, S: 7}, Dead: &pipeline.Dead{Reason: "json", Raw: []byte(raw)}})
		if err != nil {
			t.Fatal(err)
		}
		publish(m)
	}
	var want []string
	seq := 0
	packed := func(raws ...string) {
		t.Helper()
		var letters []pipeline.Dead
		seq++
		for i, raw := range raws {
			letters = append(letters, pipeline.Dead{Reason: "type", Detail: "50% \"of\"\nit", Raw: []byte(raw)})
			want = append(want, fmt.Sprintf("gateway/%d.%d type %q %q", seq, i+1, letters[i].Detail, raw))
		}
		if err := g.DeadLetters(ctx, fmt.Sprint(seq), letters); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		seq++
		single(c.Names.DeadGateway(), 0, "{")
		want = append(want, fmt.Sprintf(`gateway/%d json "" "{"`, seq))
		packed("{}", "", "a\nb\n", "\xff\x00\r\n", `{"reason":"x","bytes":0}`+"\n")
		seq++
		single(c.Names.DeadSubject(1), uint64(n+1), "2")
		want = append(want, fmt.Sprintf(`1/%d json "" "2"`, n+1))
		var many []string
		for i := range 2000 {
			many = append(many, fmt.Sprint(i))
		}
		packed(many...)
		packed("one")
		packed(strings.Repeat("x", 500<<10))
	}
	seq++ // what is damaged is shown too
	whole := `{"reason":"a","detail":"","bytes":1}` + "\n1\n"
	publish(&nats.Msg{Subject: c.Names.DeadGateway(), Header: nats.Header{headerLetters: {"2"}}, Data: []byte(whole + `{"reason":"b","detail":"","bytes":9}` + "\n12\n")})
	want = append(want, fmt.Sprintf(`gateway/%d.1 a "" "1"`, seq),
		fmt.Sprintf("gateway/%d.2 damaged %q %q", seq, "the rest of the message is not what a gateway stores", `{"reason":"b","detail":"","bytes":9}`+"\n12\n"))
	for _, newest := range []int{0, 1, 2, 3, 4, 5, 7, 1999, 2000, 2005, 2011, 5000, len(want), len(want) + 1} {
		var found []string
		if err := c.ScanDeadLetters(ctx, "", time.Time{}, newest, func(d *DeadLetter) error {
			found = append(found, fmt.Sprintf("%s %s %q %q", d.ID(), d.Reason, d.Detail, d.Raw))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		expect := want
		if newest > 0 && newest < len(want) {
			expect = want[len(want)-newest:]
		}
		if !slices.Equal(found, expect) {
			t.Errorf("the newest %d: %d letters, want %d: %.300q, want %.300q", newest, len(found), len(expect), found, expect)
		}
	}
	n := 0
	if err := c.ScanDeadLetters(ctx, FromGateway, time.Time{}, 2005, func(d *DeadLetter) error {
		if n++; d.Source != FromGateway {
			t.Errorf("a letter of %s", d.Source)
		}
		return nil
	}); err != nil || n != 2005 {
		t.Errorf("of the gateway %d letters, %v", n, err)
	}
}
