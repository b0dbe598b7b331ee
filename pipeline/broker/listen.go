package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

// Somebody who wants to see what arrives (offerctl listen) publishes a Wish on the
// ListenSubject, and renews it. Each gateway answers with a Hearing, and sends
// Notices on the NoticesSubject of the wish: one JSON object a line, any number of lines
// in a message. None of it is stored, and what a gateway tells does not depend on the
// log: it also tells of what never reaches the log, and with which key an event came,
// which the log does not know.

// WishEvery is how often a wish is renewed. A gateway forgets one that was not for
// three times as long.
const WishEvery = 3 * time.Second

// maxWish is the size in bytes of a wish. A longer one is not answered.
const maxWish = 4 << 10

// A Wish says what somebody wants to see. An empty field means: all.
type Wish struct {
	ID    string `json:"id"`              // of the NoticesSubject: letters and digits
	User  string `json:"user,omitempty"`  // a userId or an anonymousId
	Event string `json:"event,omitempty"` // the name of an event, or a type of events
	Key   string `json:"key,omitempty"`   // the name of a key
	Over  bool   `json:"over,omitempty"`  // it ends now
}

// valid reports whether the id makes a subject of its own. It is not the wish that
// names the subject: a gateway may publish into the log.
func (w *Wish) valid() bool {
	for _, c := range []byte(w.ID) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return w.ID != "" && len(w.ID) <= 64
}

// Wants reports whether the wish is for a notice. A request that was refused as a whole
// is of no user and no event.
func (w *Wish) Wants(n *Notice) bool {
	return (w.User == "" || w.User == n.User || w.User == n.Anonymous) &&
		(w.Event == "" || w.Event == n.Event || w.Event == n.Type) &&
		(w.Key == "" || w.Key == n.Key)
}

// A Hearing is a gateway's answer to a wish.
type Hearing struct {
	Gateway string `json:"gateway"`        // its name
	Full    bool   `json:"full,omitempty"` // it has as many listeners as it takes
}

// Outcomes of events.
const (
	Accepted = "accepted" // the log has acknowledged it
	Refused  = "refused"  // as it is wrong, or too much
	Denied   = "denied"   // its key may not send it
	Failed   = "failed"   // the gateway could not store it: the client sends it again
)

// A Notice is what became of one event, or of a request that was refused as a whole:
// that has no type. Texts of clients are cut.
type Notice struct {
	At         string `json:"at,omitempty"`      // when it was received, RFC 3339
	Gateway    string `json:"gateway,omitempty"` // its name
	Outcome    string `json:"outcome,omitempty"`
	Status     int    `json:"status,omitempty"` // of the answer to the request
	Reason     string `json:"reason,omitempty"` // one word
	Detail     string `json:"detail,omitempty"`
	Key        string `json:"key,omitempty"` // the name of the key; "": not known
	Path       string `json:"path,omitempty"`
	Type       string `json:"type,omitempty"`
	Event      string `json:"event,omitempty"` // the event's name
	User       string `json:"user_id,omitempty"`
	Anonymous  string `json:"anonymous_id,omitempty"`
	Item       string `json:"item,omitempty"` // kind/id, of an event about an item
	ID         string `json:"message_id,omitempty"`
	Properties string `json:"properties,omitempty"` // the beginning of their JSON; of an identify or group event the traits, of a fact the values

	More int `json:"more,omitempty"` // so many events are not shown, as they were too many; all else is empty
}

// Listeners calls wish with each wish of somebody who wants to see what arrives, and
// answers with what that returns, until stop is called. send sends Notices to him.
func (g *GatewayLog) Listeners(wish func(w Wish, send func(lines []byte) error) Hearing) (stop func(), err error) {
	c := g.conn
	return c.Wire.Listen(c.Names.ListenSubject(), func(q Question) {
		var w Wish
		if len(q.Data) > maxWish || json.Unmarshal(q.Data, &w) != nil || !w.valid() {
			c.Log.Debug("a wish to listen cannot be read", "bytes", len(q.Data))
			return
		}
		to := c.Names.NoticesSubject(w.ID)
		h := wish(w, func(lines []byte) error { return c.Wire.Send(to, lines) })
		if w.Over { // then nobody waits for an answer
			return
		}
		b, err := json.Marshal(h)
		if err == nil {
			err = q.Answer(b)
		}
		if err != nil {
			c.Log.Debug("cannot answer a wish to listen", "error", err)
		}
	})
}

// hearAhead bounds the messages that wait for Hear's caller; beyond that the client
// library drops and warns.
const hearAhead = 4096

// Hear calls heard with each notice that gateways send, answered with their answers to
// each renewal of the wish, and asked before the next one, until ctx is done or the
// connection has ended (nil). nobody says that NATS knows of no gateway. It is for tools.
func (c *Conn) Hear(ctx context.Context, w Wish, heard func(*Notice), answered func(Hearing), asked func(nobody bool)) error {
	notices, answers := make(chan *nats.Msg, hearAhead), make(chan *nats.Msg, hearAhead)
	inbox := c.NC.NewInbox()
	for subject, to := range map[string]chan *nats.Msg{c.Names.NoticesSubject(w.ID): notices, inbox: answers} {
		sub, err := c.NC.ChanSubscribe(subject, to)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", subject, err)
		}
		defer sub.Unsubscribe()
	}
	defer func() { // gateways need not wait until it is not renewed
		w.Over = true
		c.wish(w, "")
	}()
	again := time.NewTicker(WishEvery)
	defer again.Stop()
	for err := c.wish(w, inbox); ; {
		if c.NC.IsClosed() {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case m := <-notices:
			hear(m.Data, heard)
		case m := <-answers:
			var h Hearing
			if m.Header.Get("Status") == "503" { // no responders
				asked(true)
			} else if json.Unmarshal(m.Data, &h) == nil {
				answered(h)
			}
		case <-again.C:
			asked(false)
			err = c.wish(w, inbox)
		case <-c.closed:
		case <-ctx.Done():
			return nil
		}
	}
}

// wish publishes a wish, which is answered to the inbox; "": it is not.
func (c *Conn) wish(w Wish, inbox string) error {
	b, err := json.Marshal(w)
	if err == nil {
		err = c.NC.PublishMsg(&nats.Msg{Subject: c.Names.ListenSubject(), Reply: inbox, Data: b})
	}
	if err != nil {
		return fmt.Errorf("ask the gateways on %s: %w", c.Names.ListenSubject(), err)
	}
	return nil
}

// hear calls fn with each notice of a message.
func hear(data []byte, fn func(*Notice)) {
	for line := range bytes.Lines(data) {
		n := new(Notice)
		if json.Unmarshal(line, n) == nil {
			fn(n)
		}
	}
}

// FollowOffers calls fn with each offer that is stored from now on, and with when it was,
// until stop is called or the connection is closed. It is for tools.
func (c *Conn) FollowOffers(ctx context.Context, fn func(stored time.Time, o *pipeline.Offer)) (stop func(), err error) {
	stream := c.Names.OffersStream()
	_, last, err := c.Wire.Extent(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("follow the offers: %w", err)
	}
	con, err := c.JS.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{ // from a sequence, and not what is new: that is another place when the library makes the consumer again
		FilterSubjects: []string{c.Names.OfferSubjects()}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: last + 1, InactiveThreshold: time.Minute,
	})
	var following jetstream.ConsumeContext
	if err == nil {
		following, err = con.Consume(func(m jetstream.Msg) {
			var o pipeline.Offer
			meta, err := m.Metadata()
			if err == nil && len(m.Headers()[headerAccepted]) == 0 && json.Unmarshal(m.Data(), &o) == nil {
				fn(meta.Timestamp, &o)
			}
		}, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if !c.NC.IsClosed() && !errors.Is(err, jetstream.ErrConnectionClosed) {
				c.Log.Warn("the offers cannot be followed: trying again", "error", err)
			}
		}))
	}
	if err != nil {
		return nil, fmt.Errorf("follow the offers in stream %s: %w", stream, err)
	}
	return func() {
		following.Stop()
		if c.NC.IsClosed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		c.JS.DeleteConsumer(ctx, stream, con.CachedInfo().Name)
	}, nil
}
