package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
	"offerstream/pipeline/broker/embedded"
)

// TestHear: a wish reaches a gateway, is renewed and ends, and what the gateway sends
// reaches who has wished; nothing else is taken for a wish.
func TestHear(t *testing.T) {
	t.Parallel()
	ns := serve(t, embedded.Options{})
	c, tool := dial(t, Options{InProcess: ns, Partitions: 1, Prefix: "x", Client: "gateway"}), dial(t, Options{InProcess: ns, Partitions: 1, Prefix: "x", Client: "tool"})
	ctx, end := context.WithCancel(limited(t))
	heard, answers, nobody, ended := make(chan *Notice, 100), make(chan Hearing, 100), make(chan bool, 100), make(chan error, 1)
	w := Wish{ID: "a1", User: "ann", Event: "A", Key: "web"}
	go func() {
		ended <- tool.Hear(ctx, w, func(n *Notice) { heard <- n }, func(h Hearing) { answers <- h }, func(none bool) { nobody <- none })
	}()
	if !<-nobody {
		t.Error("it is not said that no gateway is there")
	}
	wishes := make(chan Wish, 100)
	stop, err := openLog(t, c).Listeners(func(w Wish, send func([]byte) error) Hearing {
		wishes <- w
		if err := send([]byte("{\"outcome\":\"accepted\"}\nnonsense\n{\"more\":3}\n")); err != nil && !w.Over {
			t.Error(err)
		}
		return Hearing{Gateway: "g", Full: true}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, id := range []string{"", "a.b", "*", ">", "a b", "ä", strings.Repeat("a", 65)} {
		b, err := json.Marshal(Wish{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		if err := tool.NC.PublishRequest("x.query.listen", tool.NC.NewInbox(), b); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"", "{", `{"id":"a1","user":"` + strings.Repeat("a", maxWish) + `"}`} {
		if err := tool.NC.PublishRequest("x.query.listen", tool.NC.NewInbox(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if <-nobody {
		t.Error("it is said again that no gateway is there")
	}
	if got := <-wishes; got != w { // the renewal
		t.Errorf("the first wish is %+v", got)
	}
	if h := <-answers; h != (Hearing{"g", true}) {
		t.Errorf("the answer is %+v", h)
	}
	if one, two := <-heard, <-heard; *one != (Notice{Outcome: Accepted}) || *two != (Notice{More: 3}) {
		t.Errorf("heard %+v, %+v", one, two)
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := <-wishes; !got.Over || got.ID != "a1" {
		t.Errorf("the last wish is %+v", got)
	}

	go func() {
		ended <- tool.Hear(limited(t), w, func(*Notice) {}, func(Hearing) {}, func(bool) {})
	}()
	<-wishes
	tool.NC.Close()
	if err := <-ended; err != nil {
		t.Errorf("after the connection has ended: %v", err)
	}
}

// TestWants: each filter of a wish must fit.
func TestWants(t *testing.T) {
	event, whole := &Notice{Type: "track", Event: "A", User: "ann", Anonymous: "x", Key: "web"}, &Notice{Key: "web"}
	for _, tt := range []struct {
		w            Wish
		event, whole bool
	}{
		{Wish{}, true, true}, {Wish{User: "ann"}, true, false}, {Wish{User: "x"}, true, false}, {Wish{User: "y"}, false, false},
		{Wish{Event: "A"}, true, false}, {Wish{Event: "track"}, true, false}, {Wish{Event: "a"}, false, false},
		{Wish{Key: "web"}, true, true}, {Wish{Key: "we"}, false, false}, {Wish{User: "ann", Event: "A", Key: "web"}, true, false}, {Wish{User: "ann", Event: "B"}, false, false},
	} {
		if tt.w.Wants(event) != tt.event || tt.w.Wants(whole) != tt.whole {
			t.Errorf("%+v: %v, %v", tt.w, tt.w.Wants(event), tt.w.Wants(whole))
		}
	}
}

// TestFollowOffers: only offers, from now on.
func TestFollowOffers(t *testing.T) {
	c := dial(t, Options{InProcess: serve(t, embedded.Options{}), Partitions: 2, Prefix: "x"})
	ctx := limited(t)
	put := func(subject string, header nats.Header, id string) {
		t.Helper()
		m := &nats.Msg{Subject: subject, Header: header}
		if id != "" {
			m.Data = fmt.Appendf(nil, `{"id":%q}`, id)
		}
		if _, err := c.JS.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	put(c.Names.OfferSubject("web", 0), nil, "before")
	came := make(chan string, 100)
	stop, err := c.FollowOffers(ctx, func(at time.Time, o *pipeline.Offer) {
		if time.Since(at) > within {
			t.Errorf("offer %s was stored at %v", o.ID, at)
		}
		came <- o.ID
	})
	if err != nil {
		t.Fatal(err)
	}
	put(c.Names.WithheldSubject(0), nil, "withheld")
	put(c.Names.OfferSubject("web", 1), nil, "one")
	put(c.Names.OfferSubject("web", 1), nats.Header{headerAccepted: {"yes"}}, "")
	put(c.Names.OfferSubject("sms", 0), nil, "two")
	if got := []string{<-came, <-came}; !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("%q", got)
	}
	stop()
	st, err := c.JS.Stream(ctx, c.Names.OffersStream())
	if err != nil {
		t.Fatal(err)
	}
	for name := range st.ConsumerNames(ctx).Name() {
		t.Errorf("consumer %s is left", name)
	}
}
