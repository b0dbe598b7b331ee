package audit

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/checkpoint"
	"offerstream/pipeline/value"
)

// A tampering changes the list of all stored records.
type tampering func([]*nats.Msg) []*nats.Msg

// tamper replaces the offers stream by one with changed records.
func tamper(t *testing.T, c *broker.Conn, change tampering) {
	t.Helper()
	st, err := c.JS.Stream(within(t), c.Names.OffersStream())
	if err != nil {
		t.Fatal(err)
	}
	var all []*nats.Msg
	for seq := st.CachedInfo().State.FirstSeq; seq <= st.CachedInfo().State.LastSeq; seq++ {
		m, err := st.GetMsg(within(t), seq)
		if err != nil {
			t.Fatal(err)
		}
		for name := range m.Header { // what made the server store it
			if strings.HasPrefix(name, "Nats-") {
				delete(m.Header, name)
			}
		}
		all = append(all, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	}
	if err := st.Purge(within(t)); err != nil {
		t.Fatal(err)
	}
	for _, m := range change(all) {
		if _, err := c.JS.PublishMsg(within(t), m); err != nil {
			t.Fatal(err)
		}
	}
}

// with returns a copy of a record with other headers: name, value, ...
func with(m *nats.Msg, headers ...string) *nats.Msg {
	cp := &nats.Msg{Subject: m.Subject, Header: nats.Header{}, Data: m.Data}
	for name, v := range m.Header {
		cp.Header[name] = v
	}
	for i := 0; i < len(headers); i += 2 {
		cp.Header[headers[i]] = []string{headers[i+1]}
	}
	return cp
}

func without(m *nats.Msg, header string) *nats.Msg {
	m = with(m)
	delete(m.Header, header)
	return m
}

// shopped makes a deployment without a worker in which ada has four offers, from
// messages 2 and 3.
func shopped(t *testing.T, partitions int) *broker.Conn {
	t.Helper()
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), partitions)
	hash := apply(t, c, views(t, 1))
	w := start(t, ns.ClientURL(), t.TempDir())
	w.inForce(t, hash)
	for i := 1; i < 4; i += 2 {
		publish(t, c, []scripted{{0, bytes.Join([][]byte{view(i, "ada"), view(i+1, "ada")}, []byte("\n"))}})
	}
	w.applied(t, c)
	w.stop(t)
	return c
}

// TestVerify changes the offers stream in every way that a verdict distinguishes.
func TestVerify(t *testing.T) {
	const n, s, id = "Offerstream-N", "Offerstream-S", "ce-id"
	c := shopped(t, 1)
	var sound []*nats.Msg
	tamper(t, c, func(all []*nats.Msg) []*nats.Msg { sound = all; return all })
	for _, tc := range []struct {
		name   string
		change func(m []*nats.Msg) []*nats.Msg
		want   Sums
		like   string // a part of the first example
	}{
		{"unchanged", func(m []*nats.Msg) []*nats.Msg { return m }, Sums{Stored: 4}, ""},
		{"one removed", func(m []*nats.Msg) []*nats.Msg { return slices.Delete(m, 1, 2) }, Sums{Stored: 3, Missing: 1}, "record 2 of offers.web.0, from message 2: it is not stored"},
		{"the last removed", func(m []*nats.Msg) []*nats.Msg { return m[:3] }, Sums{Stored: 3, Missing: 1}, "record 4 of offers.web.0, from message 3"},
		{"trimmed", func(m []*nats.Msg) []*nats.Msg { return m[3:] }, Sums{Stored: 1, Trimmed: 3}, ""},
		{"trimmed, and one removed", func(m []*nats.Msg) []*nats.Msg { return []*nats.Msg{m[1], m[3]} }, Sums{Stored: 2, Trimmed: 1, Missing: 1}, "record 3 of"},
		{"none left", func(m []*nats.Msg) []*nats.Msg { return nil }, Sums{Missing: 4}, "record 1 of"},
		{"the last again", func(m []*nats.Msg) []*nats.Msg { return append(m, with(m[3], n, "5")) }, Sums{Stored: 5, Duplicate: 1}, "record 5 of offers.web.0, from message 3: it is stored once more"},
		{"one again as it was", func(m []*nats.Msg) []*nats.Msg { return slices.Insert(m, 2, m[1]) }, Sums{Stored: 5, Duplicate: 1}, "record 2 of"},
		{"one instead of another", func(m []*nats.Msg) []*nats.Msg { m[2] = with(m[1], n, "3"); return m }, Sums{Stored: 4, Duplicate: 1, Missing: 1}, "record 3 of"},
		{"one before its time", func(m []*nats.Msg) []*nats.Msg { return slices.Insert(m, 0, with(m[3], n, "1")) }, Sums{Stored: 5, Duplicate: 1, Different: 1}, "record 4 of"},
		{"out of order", func(m []*nats.Msg) []*nats.Msg { m[1], m[2] = m[2], m[1]; return m }, Sums{Stored: 4, Different: 1}, "before an offer that precedes it"},
		{"a foreign one at the end", func(m []*nats.Msg) []*nats.Msg { return append(m, with(m[3], n, "5", id, "x")) }, Sums{Stored: 5, Extra: 1}, "offer x, record 5"},
		{"a foreign one between", func(m []*nats.Msg) []*nats.Msg { return slices.Insert(m, 2, with(m[3], n, "99", id, "x")) }, Sums{Stored: 5, Extra: 1}, "offer x, record 99"},
		{"a foreign chain", func(m []*nats.Msg) []*nats.Msg {
			m = append(m, with(m[0], id, "x"))
			m[4].Subject = "offers.sms.0"
			return m
		}, Sums{Stored: 5, Extra: 1}, "offer x, record 1 of offers.sms.0"},
		{"a foreign withheld record", func(m []*nats.Msg) []*nats.Msg {
			m = append(m, with(m[0], id, "x"))
			m[4].Subject = "withheld.0"
			return m
		}, Sums{Stored: 5, Extra: 1}, "offer x, record 1 of withheld.0"},
		{"on another chain too", func(m []*nats.Msg) []*nats.Msg { m = append(m, with(m[0])); m[4].Subject = "offers.sms.0"; return m }, Sums{Stored: 5, Duplicate: 1}, "record 1 of offers.sms.0"},
		{"from beyond the log", func(m []*nats.Msg) []*nats.Msg { return append(m, with(m[3], n, "5", s, "99", id, "x")) }, Sums{Stored: 5, Extra: 1}, "the log ends at message 3"},
		{"no record at all", func(m []*nats.Msg) []*nats.Msg {
			return append(m, &nats.Msg{Subject: m[0].Subject, Data: []byte("hello")})
		}, Sums{Stored: 5, Extra: 1}, "record 0 of"},
		{"other data", func(m []*nats.Msg) []*nats.Msg { m[1] = with(m[1]); m[1].Data = []byte("{}"); return m }, Sums{Stored: 4, Different: 1}, "record 2 of offers.web.0, from message 2: it is stored with other data"},
		{"another id", func(m []*nats.Msg) []*nats.Msg { m[1] = with(m[1], id, "x"); return m }, Sums{Stored: 4, Different: 1}, `offer "x" is stored in its place`},
		{"another message", func(m []*nats.Msg) []*nats.Msg { m[1] = with(m[1], s, "3"); return m }, Sums{Stored: 4, Different: 1}, "it is stored as {N:2 S:3"},
		{"a message beyond the log", func(m []*nats.Msg) []*nats.Msg { m[1] = with(m[1], s, "99"); return m }, Sums{Stored: 4, Different: 1}, "it is stored as {N:2 S:99"},
		{"another number", func(m []*nats.Msg) []*nats.Msg { m[1] = with(m[1], n, "7"); return m }, Sums{Stored: 4, Different: 1}, "it is stored as {N:7 S:2"},
		{"another number of the first", func(m []*nats.Msg) []*nats.Msg { m[0] = with(m[0], n, "7"); return m }, Sums{Stored: 4, Different: 1}, "it is stored as {N:7 S:2"},
		{"no number", func(m []*nats.Msg) []*nats.Msg { m[3] = without(m[3], n); return m }, Sums{Stored: 4, Different: 1}, "it is stored as {N:0 S:0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tamper(t, c, func([]*nats.Msg) []*nats.Msg { return tc.change(slices.Clone(sound)) })
			got, err := Verify(within(t), c, nil)
			if err != nil {
				t.Fatal(err)
			}
			tc.want.Applied, tc.want.Offers = 4, 4
			if got.Sums != tc.want || len(got.Partitions) != 1 || got.Partitions[0].Sums != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
			if len(got.Examples) != got.Wrong() || got.OK() != (tc.like == "") || !got.OK() && !strings.Contains(got.Examples[0].String(), tc.like) {
				t.Errorf("examples: %v, want one like %q", got.Examples, tc.like)
			}
		})
	}
}

// TestVerifyPage: page records are compared as offers are.
func TestVerifyPage(t *testing.T) {
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 1))
	w := start(t, ns.ClientURL(), t.TempDir())
	w.inForce(t, hash)
	for _, visitor := range []string{"v1", "v2"} {
		publish(t, c, []scripted{{0, fmt.Appendf(nil, `{"type":"identify","userId":"ada","anonymousId":%q,"messageId":%[1]q,"receivedAt":%q}`, visitor, value.FormatTime(time.Now().UnixNano()))}})
	}
	page := func() (all []string) {
		if err := c.ScanOffers(within(t), 0, func(r broker.Record) error { all = append(all, r.Chain+" "+string(r.Data)); return nil }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	await(t, "the visitors are merged", func() bool { return len(page()) == 2 })
	w.applied(t, c)
	w.stop(t)
	if all := page(); !strings.HasPrefix(all[1], `page {"type":"merged","visitor":"v2","user":"ada",`) {
		t.Errorf("stored are %v", all)
	}
	var sound []*nats.Msg
	tamper(t, c, func(all []*nats.Msg) []*nats.Msg { sound = all; return all })
	for _, tc := range []struct {
		name   string
		change tampering
		want   Sums
		like   string
	}{
		{"unchanged", func(m []*nats.Msg) []*nats.Msg { return m }, Sums{Stored: 2}, ""},
		{"one removed", func(m []*nats.Msg) []*nats.Msg { return m[:1] }, Sums{Stored: 1, Missing: 1}, "missing: page record"},
		{"another user", func(m []*nats.Msg) []*nats.Msg {
			m[0] = with(m[0])
			m[0].Data = bytes.Replace(m[0].Data, []byte("ada"), []byte("eve"), 1)
			return m
		}, Sums{Stored: 2, Different: 1}, "it is stored with other data"},
	} {
		tamper(t, c, func([]*nats.Msg) []*nats.Msg { return tc.change(slices.Clone(sound)) })
		got, err := Verify(within(t), c, nil)
		if err != nil {
			t.Fatal(err)
		}
		tc.want.Applied, tc.want.Offers, got.Mails = 2, 2, MailSums{}
		if got.Sums != tc.want || tc.like != "" && !strings.Contains(got.Examples[0].String(), tc.like) {
			t.Errorf("%s: %+v %v, want %+v", tc.name, got.Sums, got.Examples, tc.want)
		}
	}
	tamper(t, c, func([]*nats.Msg) []*nats.Msg { return sound[:1] })
	opt := accepting(t, ns.ClientURL())
	var lost []Example
	opt.Lost = func(e Example) { lost = append(lost, e) }
	done, err := Accept(within(t), c, opt)
	if err != nil || done.Lost != 1 || len(lost) != 1 || lost[0].Chain != "page" || done.Chains["page"] <= done.After {
		t.Errorf("accepted: %+v, %v, %v", done, lost, err)
	}
}

var verifySeed = flag.Uint64("seed", 0, "of what TestVerifyMany changes; 0: a new one")

// TestVerifyMany changes many records of a long chain at once.
func TestVerifyMany(t *testing.T) {
	t.Parallel()
	seed := *verifySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("go test ./pipeline/audit -run '^TestVerifyMany$' -seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 1)
	hash := apply(t, c, views(t, 1))
	w := start(t, ns.ClientURL(), t.TempDir())
	w.inForce(t, hash)
	const offers = 4000
	for i := 0; i < offers; {
		var pack []byte
		for range 1 + rng.IntN(100) {
			i++
			pack = append(append(pack, view(i, fmt.Sprint("u", i%50))...), '\n')
			if i == offers {
				break
			}
		}
		publish(t, c, []scripted{{0, pack}})
	}
	w.applied(t, c)
	w.stop(t)
	want := Sums{Applied: offers, Offers: offers}
	rarely := 5 + rng.IntN(10) // with 5, more records are left over than maxUnmatched
	tamper(t, c, func(all []*nats.Msg) (out []*nats.Msg) {
		want.Trimmed = rng.IntN(offers / 2)
		for i, m := range all[want.Trimmed:] {
			switch rng.IntN(rarely) {
			case 0:
				if i > 0 && rng.IntN(2) == 0 {
					want.Missing++
					continue
				}
			case 1:
				want.Duplicate++
				out = append(out, m)
			case 2:
				want.Extra++
				out = append(out, with(m, "ce-id", fmt.Sprint("x", i), "Offerstream-N", fmt.Sprint(rng.IntN(2*offers)+offers)))
			case 3:
				want.Different++
				m = with(m)
				m.Data = []byte("{}")
			case 4:
				want.Different++
				m = with(m, "Offerstream-K", "100")
			}
			out = append(out, m)
		}
		want.Stored = len(out)
		return out
	})
	got, err := Verify(within(t), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Sums != want || len(got.Examples) != maxExamples {
		t.Errorf("%+v, want %+v", got, want)
	}
	t.Logf("%+v", want)
}

// TestVerifyEmpty: an empty deployment has no errors; partitions without offers,
// and dead letters, do no harm.
func TestVerifyEmpty(t *testing.T) {
	ns := startNATS(t, t.TempDir())
	c := connect(t, ns.ClientURL(), 3)
	if v := verified(t, c); v.Sums != (Sums{}) || len(v.Partitions) != 3 {
		t.Errorf("%+v", v)
	}
	c = shopped(t, 3)
	publish(t, c, []scripted{{1, []byte("what is this?")}})
	w := start(t, c.NC.ConnectedUrl(), t.TempDir())
	w.applied(t, c)
	w.stop(t)
	if v := verified(t, c); v.Sums != (Sums{Applied: 4, Offers: 4, Stored: 4}) {
		t.Errorf("%+v", v)
	}
	dead, err := c.JS.Stream(within(t), c.Names.DeadStream())
	if err != nil {
		t.Fatal(err)
	}
	if n := dead.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
	if err := dead.Purge(within(t)); err != nil {
		t.Fatal(err)
	}
	verified(t, c)
	if v, err := Verify(within(t), c, &VerifyOptions{Partitions: []int{1}}); err != nil || v.Offers != 0 || len(v.Partitions) != 1 || v.Partitions[0].Partition != 1 {
		t.Errorf("partition 1 alone: %+v, %v", v, err)
	}
}

// TestVerifyCut: a log without its beginning cannot be verified without a
// snapshot.
func TestVerifyCut(t *testing.T) {
	c := shopped(t, 1)
	st, err := c.JS.Stream(within(t), c.Names.EventsStream(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []uint64{3, 4} { // of three messages, the last one is left, or none
		if err := st.Purge(within(t), jetstream.WithPurgeSequence(from)); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(within(t), c, nil); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("partition 0: the log begins at message %d", from)) {
			t.Errorf("the log begins at message %d: %v", from, err)
		}
	}
}

// TestVerifyPanic: a step that panics is guarded, and its events count once.
func TestVerifyPanic(t *testing.T) {
	c := shopped(t, 1)
	var compiled checkpoint.Sets
	panics := 0
	of := &verification{reading: newReading(newReplay(c, 0, filepath.Join(t.TempDir(), "state"), nil, &compiled, nil)), opt: &VerifyOptions{}}
	of.next = func(f *pipeline.Fold) (bool, error) {
		more, err := checkpoint.Next(f)
		if s := f.StepID(); err == nil && s.Seq == 3 && s.Within == 1 && panics == 0 {
			panics++
			return false, &checkpoint.Poison{Step: s, Cause: "bang"}
		}
		return more, err
	}
	a, err := verifyPast(within(t), of)
	if err != nil {
		t.Fatal(err)
	}
	if a.sums != (Sums{Applied: 4, Offers: 4, Stored: 4}) || len(a.guarded) != 1 || a.guarded[0].Within != 1 {
		t.Errorf("%+v, guarded %v", a.sums, a.guarded)
	}
	of.guarded = []pipeline.StepID{{Seq: 3, Within: 1}}
	panics = 0
	if _, err := verifyPast(within(t), of); err == nil || !strings.Contains(err.Error(), "bang") {
		t.Errorf("a guarded step that panics: %v", err)
	}
}

// TestVerifyLive verifies while a worker has not published everything, and while
// events come: no offer is reported missing, and later events are ignored.
func TestVerifyLive(t *testing.T) {
	c := shopped(t, 1)
	url := c.NC.ConnectedUrl()
	publish(t, c, []scripted{{0, view(5, "ada")}, {0, view(6, "ada")}})
	if v, err := Verify(within(t), c, nil); err != nil || v.Missing != 2 || v.Wrong() != 2 {
		t.Errorf("two are not stored yet: %+v, %v", v, err)
	}
	if v, err := Verify(within(t), c, &VerifyOptions{Settle: 100 * time.Millisecond}); err != nil || v.Missing != 2 || v.Wrong() != 2 {
		t.Errorf("two are not stored in time: %+v, %v", v, err)
	}
	var w *running
	v, err := Verify(within(t), c, &VerifyOptions{Settle: time.Minute, Progress: func(_ int, seq, end uint64) {
		if seq == 1 {
			w = start(t, url, t.TempDir())
			publish(t, c, []scripted{{0, view(7, "ada")}, {0, view(8, "ada")}})
		}
	}})
	if err != nil || v.Sums != (Sums{Applied: 6, Offers: 6, Stored: 6}) {
		t.Errorf("with a worker that is behind: %+v, %v", v, err)
	}
	w.applied(t, c)
	v, err = Verify(within(t), c, &VerifyOptions{Settle: time.Minute, Progress: func(_ int, seq, end uint64) {
		if seq == 1 {
			publish(t, c, []scripted{{0, view(9, "ada")}})
			w.applied(t, c)
		}
	}})
	if err != nil || v.Sums != (Sums{Applied: 8, Offers: 8, Stored: 8}) {
		t.Errorf("while events come: %+v, %v", v, err)
	}
	st, err := c.JS.Stream(within(t), c.Names.OffersStream())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteMsg(within(t), 8); err != nil { // the newest but one: the newest is stored, so there is nothing to wait for
		t.Fatal(err)
	}
	v, err = Verify(within(t), c, &VerifyOptions{Settle: 24 * time.Hour})
	if err != nil || v.Missing != 1 || v.Wrong() != 1 {
		t.Errorf("one missing before the last: %+v, %v", v, err)
	}
}

// TestVerifyTrimmedMeanwhile: a chain is trimmed while it is read.
func TestVerifyTrimmedMeanwhile(t *testing.T) {
	c := shopped(t, 1)
	var all []record
	err := c.ScanOffers(within(t), 0, func(r broker.Record) error {
		all = append(all, record{pos: r.Pos, id: r.ID, hash: xxhash.Sum64(r.Data)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &verification{reading: &reading{replay: &replay{conn: c}, end: 3}, opt: &VerifyOptions{}, newest: 3, chains: map[string]*comparison{}}
	defer a.close()
	ch, err := a.chain(within(t), "offers.web", 0)
	if err != nil {
		t.Fatal(err)
	}
	ch.take(1) // as if it had been trimmed before it was read
	st, err := c.JS.Stream(within(t), c.Names.OffersStream())
	if err == nil {
		err = st.Purge(within(t), jetstream.WithPurgeSequence(3))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if err := ch.given(within(t), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := ch.finish(within(t)); err != nil || a.sums.Trimmed != 1 || a.sums.Wrong() != 0 {
		t.Errorf("%+v, %v", a.sums, err)
	}
}
