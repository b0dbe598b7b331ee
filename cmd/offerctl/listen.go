package main

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// listen is `offerctl listen`.
func listen(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "listen [--user U] [--event E] [--key K] [--mask] [--json] [--nats URL]", `
Shows each event when the gateways have accepted or refused it, and each offer that
goes out, until Ctrl-C; then how many there were. One line each:

  time  accepted|refused|denied|failed  key  type  event  user  messageId  ...
  time  offer  campaign  channel  key  user  messageId of its cause

Accepted means that the log has it. Refused is what is wrong or too much, denied what
its key may not send, both with the reason; failed is what the gateway could not store,
and the client sends again. At the end are the first bytes of the properties. A request
that is refused as a whole (a wrong key, no JSON, too large, too many) is one line with
its path instead of an event; it is of no user, and has a key only if that is known. u:
is a userId, a: an anonymousId. Times are those of this machine's zone.

The gateways tell this themselves, and only while somebody listens. Each tells a listener
of at most 1,000 events a second, and how many more there were. Nothing of it is stored:
of the time before, deadletters list shows what was refused within batches, and explain
what became of a user's events.

--user and --event concern offers too. An offer's record names the event that caused it
only by its messageId: with --event those offers are shown whose cause was shown here
before, of the newest 10,000. --key concerns events alone.

With --mask there is a short hash for each userId, anonymousId, messageId and match key,
another one in each run, and neither properties nor details are shown.`,
		"offerctl listen --nats nats://127.0.0.1:4222\nofferctl listen --user ada --mask")
	l := &listening{std: std, wish: broker.Wish{ID: rand.Text()}, counts: map[string]int{broker.Accepted: 0, broker.Refused: 0, broker.Denied: 0, broker.Failed: 0, "offer": 0}, gateways: map[string]int{}, seen: map[string]bool{}}
	n := fs.nats()
	fs.StringVar(&l.wish.User, "user", "", "only events and offers of this userId or anonymousId, `U`")
	fs.StringVar(&l.wish.Event, "event", "", "only events of this name or type, `E`, and offers that they caused")
	fs.StringVar(&l.wish.Key, "key", "", "only events that came with the key of this name, `K`, such as \"write key 1\" or a name in the file of keys; offers are shown nevertheless")
	mask := fs.Bool("mask", false, "hide who it is: for a screen that others see")
	fs.BoolVar(&l.json, "json", false, "one JSON object a line")
	if err := fs.none(args); err != nil {
		return err
	}
	if l.wish.User != "" {
		if err := event.CheckUser(l.wish.User); err != nil {
			return err
		}
	}
	if *mask {
		l.salt = []byte(rand.Text())
	}
	conn, err := n.connect(ctx, std)
	if err != nil {
		return err
	}
	for err == nil {
		err = l.follow(ctx, conn)
		lost := conn.NC.IsClosed()
		conn.Close()
		if lost && ctx.Err() == nil {
			fmt.Fprintln(std.err, "the connection to NATS is lost: what arrives until it is there again is not shown")
			conn, err = n.connect(ctx, std)
		}
		if ctx.Err() != nil {
			l.total()
			return nil
		}
	}
	return err
}

// Bounds of a listening.
const (
	offersHeld = 100 * time.Millisecond // an offer may come a moment before the notice of its cause, but is shown after it
	offersKept = 1000                   // with --event, offers whose cause was not seen yet
	causesKept = 10_000                 // with --event, events
	missedMost = 3                      // renewals that a gateway may leave unanswered
)

// A listening is one run of the command. Events and offers come in goroutines of their
// own.
type listening struct {
	std  stdio
	wish broker.Wish
	json bool
	salt []byte // of the hashes; nil: nothing is masked

	mu     sync.Mutex
	widths [5]int         // of the columns so far
	counts map[string]int // by outcome
	more   int            // events that were not shown

	gateways map[string]int // those that answer: renewals since they did
	full     bool           // one that does not take this listener was named
	alone    bool           // it was said that none answers

	held    []offered       // for offersHeld
	waiting []offered       // for the notices of their causes
	seen    map[string]bool // the messageIds of the newest events
	order   []string        // of seen; a ring
	next    int
}

// An offered is an offer that is not shown yet.
type offered struct {
	stored time.Time
	offer  *pipeline.Offer
}

// follow shows what comes until ctx is done or the connection has ended; the
// error may be nil when it has.
func (l *listening) follow(ctx context.Context, conn *broker.Conn) error {
	l.gateways, l.alone = map[string]int{}, false
	stop, err := conn.FollowOffers(ctx, l.offer)
	if err != nil {
		return err
	}
	defer stop()
	return conn.Hear(ctx, l.wish, l.notice, l.answered, l.asked)
}

// answered says which gateway listens.
func (l *listening) answered(h broker.Hearing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.Full {
		if !l.full {
			l.full = true
			fmt.Fprintf(onDisplay(l.std.err), "gateway %s has as many listeners as it takes: what it receives is shown when one of them has ended\n", h.Gateway)
		}
		return
	}
	if _, known := l.gateways[h.Gateway]; !known {
		fmt.Fprintf(onDisplay(l.std.err), "listening to gateway %s\n", h.Gateway)
	}
	l.gateways[h.Gateway], l.alone = 0, false
}

// asked says which gateways are silent.
func (l *listening) asked(nobody bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !nobody {
		for name := range l.gateways {
			if l.gateways[name]++; l.gateways[name] > missedMost {
				delete(l.gateways, name)
				fmt.Fprintf(onDisplay(l.std.err), "gateway %s answers no more\n", name)
			}
		}
	}
	if len(l.gateways) == 0 && !l.alone && !l.full {
		l.alone = true
		fmt.Fprintln(l.std.err, "no gateway answers: none runs, or it is of an older version, or NATS does not let it (query.listen in deploy/nats.conf): waiting for one")
	}
}

// notice shows what a gateway tells.
func (l *listening) notice(n *broker.Notice) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.More > 0 {
		l.more += n.More
		if l.json {
			writeJSON(l.std.out, n)
		} else {
			fmt.Fprintf(l.std.out, "... %d more were not shown\n", n.More)
		}
		return
	}
	l.counts[n.Outcome]++
	l.showNotice(*n)
	if l.wish.Event != "" && n.Outcome == broker.Accepted && n.ID != "" {
		l.saw(n.ID)
	}
}

func (l *listening) showNotice(n broker.Notice) {
	if l.salt != nil {
		n.User, n.Anonymous, n.ID = l.masked(n.User), l.masked(n.Anonymous), l.masked(n.ID)
		n.Detail, n.Properties = "", ""
		if n.Status == http.StatusNotFound { // any text
			n.Path = ""
		}
	}
	if l.json {
		writeJSON(l.std.out, n)
		return
	}
	why := n.Reason
	if n.Detail != "" {
		why += ": " + n.Detail
	}
	who, what := whose(n.User, n.Anonymous), n.Event
	if n.Item != "" {
		who = n.Item
	}
	if n.Type == "" && what == "" {
		what = n.Path
	}
	at, _ := time.Parse(time.RFC3339Nano, n.At)
	l.row(at, n.Outcome, n.Key, n.Type, what, who, n.ID, why, n.Properties)
}

// offer takes an offer that goes out.
func (l *listening) offer(stored time.Time, o *pipeline.Offer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, offered{stored, o})
	time.AfterFunc(offersHeld, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.release()
	})
}

// release shows the offer that came first of those that are held, if it was asked for.
func (l *listening) release() {
	if len(l.held) == 0 { // it has ended
		return
	}
	o := l.held[0]
	l.held = l.held[1:]
	switch {
	case l.wish.User != "" && o.offer.User != l.wish.User:
	case l.wish.Event != "" && !l.seen[o.offer.Event]:
		if l.waiting = append(l.waiting, o); len(l.waiting) > offersKept {
			l.waiting = l.waiting[1:]
		}
	default:
		l.showOffer(o)
	}
}

// saw shows the offers that an event has caused, now and later.
func (l *listening) saw(id string) {
	if !l.seen[id] {
		l.seen[id] = true
		if len(l.order) < causesKept {
			l.order = append(l.order, id)
		} else {
			delete(l.seen, l.order[l.next])
			l.order[l.next] = id
			l.next = (l.next + 1) % causesKept
		}
	}
	rest := l.waiting[:0]
	for _, w := range l.waiting {
		if w.offer.Event == id {
			l.showOffer(w)
		} else {
			rest = append(rest, w)
		}
	}
	l.waiting = rest
}

// A shownOffer is an offer in --json.
type shownOffer struct {
	At        string `json:"at"` // when it was stored, RFC 3339
	Outcome   string `json:"outcome"`
	ID        string `json:"offer_id,omitempty"`
	Campaign  string `json:"campaign"`
	Channel   string `json:"channel"`
	User      string `json:"user_id,omitempty"`
	Anonymous string `json:"anonymous_id,omitempty"`
	Cause     string `json:"message_id,omitempty"` // of the event that caused it
	MatchKey  string `json:"match_key,omitempty"`
	LogTime   string `json:"log_time"`
}

func (l *listening) showOffer(is offered) {
	const outcome = "offer"
	o := is.offer
	l.counts[outcome]++
	s := shownOffer{At: value.FormatTime(is.stored.UnixNano()), Outcome: outcome, ID: o.ID, Campaign: o.Campaign, Channel: o.Channel, User: o.User, Cause: o.Event, MatchKey: o.Key, LogTime: o.Time}
	if o.Anon {
		s.User, s.Anonymous = "", o.User
	}
	if l.salt != nil {
		s.ID, s.User, s.Anonymous, s.Cause, s.MatchKey = "", l.masked(s.User), l.masked(s.Anonymous), l.masked(s.Cause), l.masked(s.MatchKey)
	}
	if l.json {
		writeJSON(l.std.out, s)
		return
	}
	l.row(is.stored, outcome, s.Campaign, s.Channel, s.MatchKey, whose(s.User, s.Anonymous), s.Cause)
}

// whose is a user's id with the prefix of its entity key.
func whose(user, anonymous string) string {
	switch {
	case user != "":
		return "u:" + user
	case anonymous != "":
		return "a:" + anonymous
	}
	return ""
}

// masked is an id's hash, which is the same within this run.
func (l *listening) masked(id string) string {
	if id == "" {
		return ""
	}
	mac := hmac.New(sha256.New, l.salt)
	mac.Write([]byte(id))
	return "~" + hex.EncodeToString(mac.Sum(nil)[:3])
}

// Widths of columns and texts, in characters.
const (
	widestColumn = 32
	mostShown    = 200
)

var narrowest = [5]int{8, 8, 8, 16, 8}

// row prints a line: the time, the outcome and what belongs to it, in columns that grow,
// and the rest without columns.
func (l *listening) row(at time.Time, cells ...string) {
	var b strings.Builder
	b.WriteString(at.Local().Format("15:04:05.000"))
	for i, c := range cells {
		switch c = printable(c, mostShown); {
		case i < len(l.widths):
			c = cmp.Or(c, "-")
			l.widths[i] = max(l.widths[i], narrowest[i], min(len([]rune(c)), widestColumn))
			fmt.Fprintf(&b, "  %-*s", l.widths[i], c)
		case c != "":
			b.WriteString("  " + c)
		}
	}
	fmt.Fprintln(l.std.out, strings.TrimRight(b.String(), " "))
}

// total prints how many events and offers there were.
func (l *listening) total() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.held) > 0 {
		l.release()
	}
	if l.json {
		writeJSON(l.std.out, map[string]any{"totals": l.counts, "not_shown": l.more})
		return
	}
	text := fmt.Sprintf("%d accepted, %d refused, %d denied, %d failed, %s", l.counts[broker.Accepted], l.counts[broker.Refused], l.counts[broker.Denied], l.counts[broker.Failed], count(l.counts["offer"], "offer"))
	if l.more > 0 {
		text += fmt.Sprintf("; %d more events were not shown", l.more)
	}
	fmt.Fprintln(l.std.out, text)
}
