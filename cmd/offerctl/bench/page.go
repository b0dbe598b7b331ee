package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/event"
	"offerstream/pipeline/page"
	"offerstream/pipeline/value"
)

// pageLoad is the load of `bench --page`.
type pageLoad struct {
	idle    int           // streams that are open and have nothing to do
	streams int           // streams among whom offers go
	hold    time.Duration // how long offers are stored
	offers  float64       // offers a second
	events  float64       // events a second, which the same gateway takes meanwhile
	lists   float64       // GET /v1/offers a second, afterwards
}

var defaultPageLoad = pageLoad{5000, 1000, 10 * time.Second, 300, 3000, 1000}

// pageAim is the most that an offer should take from being stored to its page, at the 99th
// percentile.
const pageAim = 20 * time.Millisecond

// pageVisitors signs the tokens of a bench's visitors.
var pageVisitors = page.NewKeys([][]byte{[]byte("the visitors of a bench")})

// A pageReport is the result of `bench --page`.
type pageReport struct {
	Ratio    float64 `json:"ratio"`  // the aim / p99
	P50      float64 `json:"p50_ms"` // from stored, by the broker's clock, to the last byte in the client
	P99      float64 `json:"p99_ms"`
	Offers   int     `json:"offers"`
	Streams  int     `json:"streams"`
	EventP99 float64 `json:"event_p99_ms"` // of the answers to events meanwhile
	ListP50  float64 `json:"list_p50_ms"`  // of GET /v1/offers
	ListP99  float64 `json:"list_p99_ms"`
	Idle     int     `json:"idle"`         // streams
	IdleMB   float64 `json:"idle_mb"`      // of the gateway's process with them, in all
	EachKB   float64 `json:"idle_each_kb"` // of these for a stream
}

// pages is `bench --page`.
func (b *Run) pages(ctx context.Context) (*pageReport, error) {
	addr, meter, stop, err := b.startTaker(ctx, "pages", "pages")
	if err != nil {
		return nil, err
	}
	defer stop()
	s, w := server{"pages", addr, meter}, b.page
	r := &pageReport{Streams: w.streams, Idle: w.idle}
	before, err := s.used(ctx)
	if err != nil {
		return nil, err
	}
	b.say("%d streams are opened", w.idle)
	streams, err := openStreams(addr, max(w.idle, w.streams))
	defer closeStreams(streams)
	if err != nil {
		return nil, err
	}
	idle, err := s.used(ctx)
	if err != nil {
		return nil, err
	}
	r.IdleMB, r.EachKB = float64(idle.Resident)/1e6, float64(idle.Resident-before.Resident)/1e3/float64(len(streams))
	closeStreams(streams[w.streams:])
	if err := b.follow(ctx, s, streams[:w.streams], r); err != nil {
		return nil, err
	}
	return r, b.lists(ctx, s, r)
}

// follow measures how long offers take to the streams, while the gateway takes events.
func (b *Run) follow(ctx context.Context, s server, streams []*pageStream, r *pageReport) error {
	w := b.page
	b.say("%.0f offers and %.0f events per second, %d streams", w.offers, w.events, len(streams))
	c, err := b.connect(ctx, s.prefix)
	if err != nil {
		return err
	}
	defer c.Close()
	got := make(chan arrival, 1<<16)
	for _, st := range streams {
		go st.read(got)
	}
	loaded := make(chan error, 1)
	go func() {
		requests := formOf("own", writeKey, gatewayLoad(b.Users)).singles
		events, err := dial(s.addr, gatewayConns, requests)
		if err == nil {
			defer events.close()
			var took []time.Duration
			if took, err = events.open(ctx, w.events, w.hold); err == nil {
				r.EventP99 = millis(quantile(took, .99))
			}
		}
		loaded <- err
	}()
	r.Offers = int(w.offers * w.hold.Seconds())
	start := time.Now()
	for i := range r.Offers {
		time.Sleep(time.Until(start.Add(time.Duration(float64(i) / w.offers * 1e9))))
		if err := storeOffer(ctx, c, streams[i%len(streams)].id, i); err != nil {
			return err
		}
	}
	if err := <-loaded; err != nil {
		return err
	}
	arrived := map[string]int64{}
	for late := time.After(10 * time.Second); len(arrived) < r.Offers; {
		select {
		case a := <-got:
			arrived[a.id] = max(a.at, arrived[a.id])
		case <-late:
			return fmt.Errorf("bench: %d offers of %d have come to their pages", len(arrived), r.Offers)
		}
	}
	var took []time.Duration
	err = c.Walk(ctx, c.Names.OffersStream(), c.Names.WebSubjects(), time.Time{}, func(m broker.Stored) error {
		o := broker.WebOffer(m)
		if o == nil || arrived[o.ID] == 0 {
			return errors.New("bench: an offer is stored that no page has")
		}
		took = append(took, time.Duration(arrived[o.ID]-m.Time))
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(took)
	r.P50, r.P99 = millis(quantile(took, .5)), millis(quantile(took, .99))
	r.Ratio = millis(pageAim) / r.P99
	return nil
}

// lists measures GET /v1/offers by a server's key, for visitors who have an offer.
func (b *Run) lists(ctx context.Context, s server, r *pageReport) error {
	b.say("%.0f lists per second", b.page.lists)
	var requests [][]byte
	for i := range 100 {
		requests = append(requests, fmt.Appendf(nil, "GET /v1/offers?visitor=%s HTTP/1.1\r\nHost: bench\r\n%s\r\n\r\n", pageVisitor(i), basic(writeKey)))
	}
	c, err := dial(s.addr, gatewayConns, requests)
	if err != nil {
		return err
	}
	defer c.close()
	c.says = `{"offers":[{"id"`
	took, err := c.open(ctx, b.page.lists, b.page.hold/2)
	if err != nil {
		return err
	}
	r.ListP50, r.ListP99 = millis(quantile(took, .5)), millis(quantile(took, .99))
	return nil
}

// visitors are the ids of a bench's visitors, the same in each stream and list.
var visitors = struct {
	sync.Mutex
	ids []string
}{}

func pageVisitor(i int) string {
	visitors.Lock()
	defer visitors.Unlock()
	for len(visitors.ids) <= i {
		visitors.ids = append(visitors.ids, pageVisitors.NewID())
	}
	return visitors.ids[i]
}

// storeOffer stores an offer of about 500 bytes, as a worker does.
func storeOffer(ctx context.Context, c *broker.Conn, visitor string, i int) error {
	now := time.Now()
	o := &pipeline.Offer{ID: fmt.Sprintf("%032x", i+1), Campaign: fmt.Sprint("bench-", i), Channel: broker.WebChannel, Kind: "advertising", User: visitor, Anon: true,
		Event: fmt.Sprint("event-", i), Time: value.FormatTime(now.UnixNano()), Expires: value.FormatTime(now.Add(time.Hour).UnixNano()),
		Data: json.RawMessage(`{"title":"` + strings.Repeat("10% off bags ", 10) + `"}`)}
	body, err := o.AppendJSON(nil)
	if err == nil {
		_, err = c.JS.Publish(ctx, c.Names.OfferSubject(broker.WebChannel, event.Partition(o.Entity(), c.Partitions)), body)
	}
	return err
}

// A pageStream is a visitor's page.
type pageStream struct {
	id string
	net.Conn
	in *bufio.Reader
}

// openStreams opens streams, each of another visitor, and returns when all are answered.
func openStreams(addr string, n int) (all []*pageStream, err error) {
	for i := range n {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return all, err
		}
		s := &pageStream{pageVisitor(i), conn, bufio.NewReaderSize(conn, 2<<10)}
		all = append(all, s)
		token, _ := pageVisitors.Token(s.id, time.Now())
		fmt.Fprintf(conn, "GET /v1/offers/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n\r\n", token)
		status, err := s.in.ReadString('\n')
		if err == nil && !strings.Contains(status, " 200 ") {
			rest, _ := io.ReadAll(io.LimitReader(s.in, int64(s.in.Buffered())))
			err = fmt.Errorf("bench: stream %d: %s%s", i, status, rest)
		}
		for line := ""; err == nil && !strings.HasPrefix(line, "retry:"); {
			line, err = s.in.ReadString('\n')
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func closeStreams(all []*pageStream) {
	for _, s := range all {
		s.Close()
	}
}

// An arrival is when an offer has come to a page.
type arrival struct {
	id string
	at int64
}

// read tells of each offer that comes, until the connection is closed.
func (s *pageStream) read(got chan<- arrival) {
	begin := []byte(`data: {"id":"`)
	for {
		line, err := s.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		if id, ok := bytes.CutPrefix(line, begin); ok && len(id) > 32 {
			got <- arrival{string(id[:32]), time.Now().UnixNano()}
		}
	}
}

func (r *pageReport) Print(w io.Writer) {
	fmt.Fprintf(w, "an offer, from stored to its page: p50 %.2f ms, p99 %.2f ms (%d offers to %d streams, with events meanwhile, whose answers take p99 %.2f ms)\n", r.P50, r.P99, r.Offers, r.Streams, r.EventP99)
	fmt.Fprintf(w, "GET /v1/offers: p50 %.2f ms, p99 %.2f ms\n", r.ListP50, r.ListP99)
	fmt.Fprintf(w, "the gateway with %d idle streams: %.0f MB in all, %.1f KB for each\n", r.Idle, r.IdleMB, r.EachKB)
}
