package worker

import (
	"bytes"
	"fmt"
	"offerstream/pipeline/broker"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestVerify changes the offers stream in every way that a verdict tells.
func TestVerify(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, c *broker.Conn, st jetstream.Stream)
		want   Verdict
	}{
		{"unchanged", func(*testing.T, *broker.Conn, jetstream.Stream) {}, Verdict{Offers: 4, Stored: 4}},
		{"one deleted", func(t *testing.T, c *broker.Conn, st jetstream.Stream) { st.DeleteMsg(within(t), 2) }, Verdict{Offers: 4, Stored: 3, Missing: 1}},
		{"trimmed", func(t *testing.T, c *broker.Conn, st jetstream.Stream) {
			st.Purge(within(t), jetstream.WithPurgeKeep(1))
		}, Verdict{Offers: 4, Stored: 1, Trimmed: 3}},
		{"none left", func(t *testing.T, c *broker.Conn, st jetstream.Stream) { st.Purge(within(t)) }, Verdict{Offers: 4, Missing: 4}},
		{"one again", func(t *testing.T, c *broker.Conn, st jetstream.Stream) { again(t, c, st, "5", "3", "", nil) }, Verdict{Offers: 4, Stored: 5, Duplicate: 1}},
		{"a foreign one", func(t *testing.T, c *broker.Conn, st jetstream.Stream) { again(t, c, st, "5", "3", "x", nil) }, Verdict{Offers: 4, Stored: 5, Extra: 1}},
		{"from beyond the log", func(t *testing.T, c *broker.Conn, st jetstream.Stream) { again(t, c, st, "5", "99", "x", nil) }, Verdict{Offers: 4, Stored: 5, Extra: 1}},
		{"other data", func(t *testing.T, c *broker.Conn, st jetstream.Stream) {
			again(t, c, st, "4", "3", "", []byte("{}"))
		}, Verdict{Offers: 4, Stored: 4, Different: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ns := startNATS(t, t.TempDir(), -1)
			c := connect(t, ns.ClientURL(), 1)
			hash := apply(t, c, views(t, 1))
			w := start(t, ns.ClientURL(), t.TempDir(), nil)
			w.inForce(t, hash)
			publish(t, c, []scripted{{0, bytes.Join([][]byte{view(1, "ada"), view(2, "ada")}, []byte("\n"))}, {0, bytes.Join([][]byte{view(3, "ada"), view(4, "ada")}, []byte("\n"))}})
			w.applied(t, c)
			w.stop(t)
			st, err := c.JS.Stream(within(t), c.Names.OffersStream())
			if err != nil {
				t.Fatal(err)
			}
			tc.change(t, c, st)
			got, err := Verify(within(t), c, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.OK() != (len(got.Examples) == 0) {
				t.Errorf("OK is %v with %d examples", got.OK(), len(got.Examples))
			}
			tc.want.Applied, got.Examples = 4, nil
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tc.want) {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

// again publishes the last offer once more, changed; with data, in its stead.
func again(t *testing.T, c *broker.Conn, st jetstream.Stream, n, s, id string, data []byte) {
	t.Helper()
	m, err := st.GetLastMsgForSubject(within(t), c.Names.OfferSubject("web", 0))
	if err != nil {
		t.Fatal(err)
	}
	h := m.Header
	if data == nil {
		data = m.Data
	} else if err := st.DeleteMsg(within(t), m.Sequence); err != nil {
		t.Fatal(err)
	}
	h.Del("Nats-Expected-Last-Subject-Sequence")
	h.Set("Offerstream-N", n)
	h.Set("Offerstream-S", s)
	if id != "" {
		h.Set("ce-id", id)
	}
	if _, err := c.JS.PublishMsg(within(t), &nats.Msg{Subject: m.Subject, Header: h, Data: data}); err != nil {
		t.Fatal(err)
	}
}
