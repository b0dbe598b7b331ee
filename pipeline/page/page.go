package page

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// Life is how long an offer can be open on a page, whatever its campaign says.
const Life = 7 * 24 * time.Hour

// Options configure a Page. Zero values mean the defaults in parentheses.
type Options struct {
	Keys        *Keys                 // of visitors; must be given
	Limits      Limits                // (DefaultLimits)
	EachID      int                   // streams of one user or visitor (16); beyond it, 429
	EachAddress int                   // streams of one address (500); beyond it, 429
	Streams     int                   // in all (16,384); beyond it, 429
	Queue       int                   // changes that wait for one page (32); beyond it, its stream ends, and it comes again
	Heartbeat   time.Duration         // (20 s)
	WriteFor    time.Duration         // until a page that reads nothing is given up (10 s)
	Now         func() int64          // nanoseconds since 1970 (time.Now)
	Metrics     prometheus.Registerer // (metrics are not shown)
	Logger      *slog.Logger          // (slog.Default)
}

func (o Options) withDefaults() Options {
	o.Limits = cmp.Or(o.Limits, DefaultLimits)
	o.EachID = cmp.Or(o.EachID, 16)
	o.EachAddress = cmp.Or(o.EachAddress, 500)
	o.Streams = cmp.Or(o.Streams, 16384)
	o.Queue = cmp.Or(o.Queue, 32)
	o.Heartbeat = cmp.Or(o.Heartbeat, 20*time.Second)
	o.WriteFor = cmp.Or(o.WriteFor, 10*time.Second)
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// A Page serves the offers of all users and visitors to their pages.
type Page struct {
	opt Options
	met *metrics

	mu       sync.Mutex
	board    *Board
	at       position
	ready    bool // the board has what OFFERS has
	closing  bool
	watching map[string][]*Stream // by key of the user or visitor
	streams  int
	from     map[any]int   // streams by address
	moved    chan struct{} // closed and made anew when at changes and somebody waits
	waiting  int
	dueSoon  chan struct{} // the next offer expires earlier than before
}

// New returns a Page that has read nothing: Run reads.
func New(opt Options) *Page {
	p := &Page{opt: opt.withDefaults(), watching: map[string][]*Stream{}, from: map[any]int{}, moved: make(chan struct{}), dueSoon: make(chan struct{}, 1)}
	p.board = NewBoard(p.opt.Limits)
	p.met = newMetrics(p.opt.Metrics, p)
	return p
}

// Keys sign the ids and tokens of visitors.
func (p *Page) Keys() *Keys { return p.opt.Keys }

// Run keeps the board up to date until ctx is done or the connection is closed.
func (p *Page) Run(ctx context.Context, conn *broker.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var once sync.Once
	paused := make(chan struct{})
	go conn.WatchPauses(ctx, func(pauses broker.Pauses) { // it returns with the connection
		p.pause(pauses)
		once.Do(func() { close(paused) })
	})
	select {
	case <-paused:
	case <-ctx.Done():
	case <-conn.Closed():
	}
	go p.expire(ctx)
	for {
		err := p.follow(ctx, conn)
		p.forget()
		if !errors.Is(err, broker.ErrShrunk) {
			return
		}
		p.opt.Logger.Error("OFFERS has lost messages: the offers on pages are read again", "error", err)
	}
}

// follow reads OFFERS until ctx is done, or a feed ends.
func (p *Page) follow(ctx context.Context, conn *broker.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began, since := time.Now(), time.Unix(0, p.opt.Now()).Add(-Life)
	web, records := conn.WebFeed(since), conn.PageFeed(since)
	defer web.Close()
	defer records.Close()
	if err := p.catchUp(ctx, web, records); err != nil {
		return err
	}
	p.mu.Lock()
	offers, keys, _ := p.board.Size()
	p.mu.Unlock()
	p.opt.Logger.Info("offers on pages are served", "open", offers, "users", keys, "read_in", time.Since(began).Round(time.Millisecond))
	ended := make(chan error, 2)
	for _, f := range []*broker.Feed{web, records} {
		go func() {
			for {
				m, err := f.Next(ctx)
				if err != nil {
					ended <- err
					return
				}
				p.apply(m, f == web)
			}
		}()
	}
	err := <-ended
	cancel()
	<-ended
	return err
}

// catchUp reads what is stored, of both feeds in the order of OFFERS.
func (p *Page) catchUp(ctx context.Context, web, records *broker.Feed) error {
	feeds, heads := [2]*broker.Feed{web, records}, [2]*broker.Stored{}
	for {
		for i, f := range feeds {
			if heads[i] != nil {
				continue
			}
			left, err := f.Pending(ctx)
			if err != nil {
				return err
			}
			if left == 0 {
				continue
			}
			m, err := f.Next(ctx)
			if err != nil {
				return err
			}
			heads[i] = &m
		}
		first := 0
		switch {
		case heads[0] == nil && heads[1] == nil:
			p.mu.Lock()
			p.ready = true
			p.mu.Unlock()
			return nil
		case heads[0] == nil || heads[1] != nil && heads[1].Seq < heads[0].Seq:
			first = 1
		}
		p.apply(*heads[first], first == 0)
		heads[first] = nil
	}
}

// forget empties the board.
func (p *Page) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.board
	p.ready, p.at = false, position{}
	p.board = NewBoard(p.opt.Limits)
	p.board.paused, p.board.noAds, p.board.dropped = old.paused, old.noAds, old.dropped
	p.endAll(endAgain)
}

// apply puts a message of OFFERS onto the board.
func (p *Page) apply(m broker.Stored, web bool) {
	now := p.opt.Now()
	var put func() []Change
	if web {
		if o := broker.WebOffer(m); o != nil {
			offer, err := open(o, m)
			if err != nil {
				p.met.unread.Inc()
				p.opt.Logger.Warn("a web offer cannot be read", "subject", m.Subject, "message", m.Seq, "error", err)
			} else {
				put = func() []Change { return p.board.Put(o.Entity(), offer, now) }
			}
		}
	} else {
		var r pipeline.PageRecord
		if json.Unmarshal(m.Data, &r) != nil {
			r.Type = ""
		}
		switch {
		case r.Type == pipeline.PageMerged && r.Visitor != "" && r.User != "":
			put = func() []Change { return p.board.Merge(event.UserKey(r.Visitor, true), event.UserKey(r.User, false)) }
		case r.Type == pipeline.PageRedeemed:
			put = func() []Change { return p.board.Redeem(r.Offer) }
		case r.Type == pipeline.PageVoided:
			put = func() []Change { return p.board.Void(r.Offer) }
		} // marks have no data, and there may be other types later
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at.pass(web, m.Seq)
	if put != nil {
		p.tell(put())
		p.wakeExpiry()
	}
	if p.waiting > 0 {
		close(p.moved)
		p.moved, p.waiting = make(chan struct{}), 0
	}
}

// shown is an offer as a page is given it: without who it is for and what caused it.
type shown struct {
	ID       string                `json:"id"`
	Campaign string                `json:"campaign"`
	Kind     string                `json:"kind"`
	Key      string                `json:"key,omitempty"`
	Time     string                `json:"time"`
	Expires  string                `json:"expires,omitempty"`
	Coupon   *pipeline.OfferCoupon `json:"coupon,omitempty"`
	Data     json.RawMessage       `json:"data,omitempty"`
}

// open returns an offer as it is on the board.
func open(o *pipeline.Offer, m broker.Stored) (Offer, error) {
	until := m.Time + int64(Life)
	if o.Expires != "" {
		at, err := value.ParseTime(o.Expires)
		if err != nil {
			return Offer{}, err
		}
		until = min(until, at)
	}
	if !isOfferID(o.ID) {
		return Offer{}, errors.New("its id is not one of an offer")
	}
	body, err := json.Marshal(shown{o.ID, o.Campaign, o.Kind, o.Key, o.Time, o.Expires, o.Coupon, o.Data})
	return Offer{ID: o.ID, Campaign: o.Campaign, Advertising: o.Kind == campaign.Advertising, Seq: m.Seq, Until: until, Body: body}, err
}

func (p *Page) pause(pauses broker.Pauses) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell(p.board.Pause(pauses.Campaigns, slices.Contains(pauses.Channels, broker.WebChannel)))
}

// expire takes offers back when they expire.
func (p *Page) expire(ctx context.Context) {
	const most = time.Minute // the clock may be set
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		p.mu.Lock()
		now, wait := p.opt.Now(), most
		p.tell(p.board.Expire(now))
		if at, ok := p.board.Due(); ok {
			wait = min(wait, max(time.Duration(at-now), time.Millisecond))
		}
		p.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.dueSoon:
		case <-ctx.Done():
			return
		}
	}
}

// wakeExpiry makes expire look when the next offer expires.
func (p *Page) wakeExpiry() {
	select {
	case p.dueSoon <- struct{}{}:
	default:
	}
}

// ErrNotReady means that the board does not have all that is stored yet.
var ErrNotReady = errors.New("the open offers are being read")

// List returns the offers that a user or visitor can see.
func (p *Page) List(key string) ([]*Offer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ready {
		return nil, ErrNotReady
	}
	return p.board.Open(nil, key, p.opt.Now()), nil
}
