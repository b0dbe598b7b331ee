package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/audit"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
	"offerstream/pipeline/explain"
)

const (
	demoKey  = "demo"
	demoRate = 400 // events a second
)

// demo is `offerctl demo`.
func demo(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "demo [--for 30s] [--events FILE.jsonl] [--json] [--campaigns PATH] [--addr HOST:PORT] [--dir DIR] [--out FILE]", `
Starts NATS, gateway and worker in this process, with campaigns of the gallery
(offerctl new demo writes them into a folder) and simulated shoppers who browse,
watch prices, look at hotels and jobs, log in, fill carts, order and leave, and
prints the offers as they go out. It also serves a shop, at a loopback address, which it prints first: there
you are the shopper, and see the offers on the page and why they came. At the end
it says of each campaign that has sent nothing why, recomputes all offers from the
log and compares them. With --events it sends that file instead, under clock: event,
serves no shop and ends by itself: its offers are the same as those of offerctl
backtest, except where users meet, at items, budgets and logins: there it matters
when one learns of another.`,
		"offerctl demo --for 30s\nofferctl demo --events events.jsonl --json")
	d := demoRun{std: std}
	fs.DurationVar(&d.most, "for", 0, "how long to run; without it, until Ctrl-C")
	fs.StringVar(&d.events, "events", "", "a `FILE` of events, one JSON object per line, may be gzipped")
	fs.BoolVar(&d.json, "json", false, "print one JSON object on standard output, and nothing else")
	fs.StringVar(&d.out, "out", "", "a `FILE` for the offers that are stored at the end, one JSON object per line, as from offerctl backtest")
	campaigns := fs.String("campaigns", "", "a `PATH` with campaigns (default those of offerctl new demo)")
	addr := fs.String("addr", "", "the address that receives events, `HOST:PORT` (default 127.0.0.1:8080, or any free port)")
	dir := fs.String("dir", "", "the `DIR` for all data, kept afterwards (default a temporary one, removed)")
	fs.Uint64Var(&d.seed, "seed", 0, "the `SEED` of the shoppers (default a new one, which is shown)")
	readCoupons := fs.couponKeys()
	if err := fs.none(args); err != nil {
		return err
	}
	reads := []string{d.events}
	if *campaigns != "" {
		files, err := config.CampaignFiles(*campaigns)
		if err != nil {
			return err
		}
		reads = append(reads, files...)
	}
	if err := apart(std, d.out, reads...); err != nil {
		return err
	}
	clock := ""
	if d.events != "" {
		clock = campaign.ClockEvent
		in, err := openInput(d.events, std)
		if err != nil {
			return err
		}
		defer in.close()
		d.in = in
	}
	set, err := loadOrShipped(clock, *campaigns)
	if err != nil {
		return err
	}
	if d.coupons, err = readCoupons(); err != nil {
		return err
	}
	if d.seed == 0 {
		d.seed = uint64(time.Now().UnixNano()) % 1e6
	}
	return d.start(ctx, *dir, orFree(*addr, "127.0.0.1:8080"), set)
}

// start starts the node in dir, or in a temporary directory, and runs the demo.
func (d *demoRun) start(ctx context.Context, dir, addr string, set *campaign.Definition) (err error) {
	shop := !d.json && d.events == ""
	if dir == "" {
		if dir, err = os.MkdirTemp("", "offerstream-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if shop && d.coupons == nil && set.Coupons != nil && set.Coupons.Key == "" {
			if d.coupons, set.Coupons.Key, err = runCouponKey(); err != nil {
				return err
			}
		}
	}
	page := newPageKey()
	d.node, err = startNode(ctx, nodeOptions{
		dir: dir, natsAddr: freeOr("127.0.0.1:4222"), partitions: 0, addr: addr,
		keys: []config.Key{config.KeyOf("demo", demoKey, event.Browser|event.Server|event.Feeder), page}, coupons: d.coupons, set: set, log: nodeLog(d.std.err, slog.LevelWarn),
	})
	if err != nil {
		return ended(ctx, err)
	}
	defer d.node.stop()
	if shop {
		url, stop, err := d.serveShop(page)
		if err != nil {
			return err
		}
		defer stop()
		d.shopURL = url
	}
	return d.run(ctx)
}

// orFree returns the given address; if it is empty, the usual one if that is
// free, else one with any free port.
func orFree(given, usual string) string {
	if given != "" {
		return given
	}
	return freeOr(usual)
}

func freeOr(usual string) string {
	l, err := net.Listen("tcp", usual)
	if err != nil {
		return "127.0.0.1:0"
	}
	l.Close()
	return usual
}

// A demoRun is one run of the demo.
type demoRun struct {
	std    stdio
	node   *node
	most   time.Duration
	events string
	out    string
	in     *input
	json   bool
	seed   uint64

	coupons *coupon.Keys // nil: codes are placeholders

	offers  atomic.Int64 // number that went out
	shopURL string       // of the shop that it serves; "": it serves none
	pointed bool         // the command that explains an offer was shown
	live    *progress
}

// A demoSummary is the last line of --json.
type demoSummary struct {
	Accepted  uint64            `json:"events_accepted"`  // acknowledged by the log
	Rejected  uint64            `json:"events_rejected"`  // refused by the gateway
	Applied   uint64            `json:"events_applied"`   // folded into state
	Offers    int               `json:"offers"`           // stored
	Duplicate int               `json:"offers_duplicate"` // stored more than once
	Missing   int               `json:"offers_missing"`   // recomputed from the log, but not stored
	Different int               `json:"offers_different"` // stored with other content, or not recomputed from the log
	Seconds   float64           `json:"seconds"`
	Seed      uint64            `json:"seed"`
	Unfired   []explain.Unfired `json:"not_fired"` // the campaigns of which no offer went out, by name; null: not known, as the beginning of a log has expired
}

// run sends the events, waits until all are applied, and compares the offers.
func (d *demoRun) run(ctx context.Context) error {
	if err := d.node.caughtUp(ctx); err != nil {
		return ended(ctx, err)
	}
	before := d.applied()
	stored, err := d.stored(ctx)
	if err != nil {
		return err
	}
	sub, err := d.node.conn.NC.Subscribe(d.node.conn.Names.OffersSubjects()[0], d.show)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	d.live = newProgress(d.std.err)
	d.welcome()
	start := time.Now()
	sendErr := d.send(ctx)
	d.live.done()
	// Accepted events are applied even if ctx is done.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	took, err := d.finish(ctx, start, sendErr)
	if err != nil {
		return err
	}
	watch := explain.NewUnfiredWatch(d.node.opt.set)
	// The worker goes on meanwhile: what is due now may ask other users, items and budgets.
	v, err := audit.Verify(ctx, d.node.conn, &audit.VerifyOptions{Coupons: d.coupons, Watch: watch.Fold, Settle: 10 * time.Second})
	if err != nil {
		return err
	}
	if err := d.node.rest(); err != nil {
		return err
	}
	if err := d.writeOffers(ctx); err != nil {
		return err
	}
	s := demoSummary{
		Accepted: d.node.counter("offerstream_gateway_events_accepted_total"), Rejected: d.node.counter("offerstream_gateway_events_rejected_total"),
		Applied: d.applied() - before, Offers: v.Stored - stored,
		Duplicate: v.Duplicate, Missing: v.Missing, Different: v.Different + v.Extra, Seconds: took.Seconds(), Seed: d.seed,
	}
	if !slices.ContainsFunc(v.Partitions, func(p audit.PartitionSums) bool { return p.From > 0 }) { // else the beginning of a log is not known
		s.Unfired = watch.Result()
	}
	return d.summary(s, v)
}

// finish stops the gateway, and waits until all accepted events are applied. It
// returns the time from start until then.
func (d *demoRun) finish(ctx context.Context, start time.Time, sendErr error) (time.Duration, error) {
	if err := errors.Join(sendErr, d.node.drain(), d.node.caughtUp(ctx)); err != nil {
		return 0, err
	}
	if err := d.node.conn.NC.FlushTimeout(10 * time.Second); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// applied returns the number of events that all partitions have applied.
func (d *demoRun) applied() uint64 {
	n := uint64(0)
	for _, s := range d.node.worker.Status() {
		n += s.Applied
	}
	return n
}

// stored returns the number of offers that are already stored.
func (d *demoRun) stored(ctx context.Context) (int, error) {
	st, err := d.node.conn.JS.Stream(ctx, d.node.conn.Names.OffersStream())
	if err != nil {
		return 0, err
	}
	n := st.CachedInfo().State.Msgs
	pages, err := st.Info(ctx, jetstream.WithSubjectFilter(d.node.conn.Names.PageSubjects()))
	if err != nil {
		return 0, err
	}
	for _, records := range pages.State.Subjects {
		n -= min(n, records)
	}
	return int(n), nil
}

func (d *demoRun) welcome() {
	if d.json || d.events != "" {
		return
	}
	url := d.node.natsURL()
	fmt.Fprintf(d.std.out, `The demo shop is at %s

It shows the offers that fit you: look at four bags, or at a hotel or a job.
Offerstream is running: NATS, gateway and worker in this process, and shoppers with
seed %d.

Send an event of your own:
  curl -u %s: http://%s/v1/track -d '{"userId":"me","event":"Product Viewed","properties":{"product_id":"b1","category":"bag","brand":"acme","price":120,"dwell_ms":20000}}'
  (20 seconds on a page about a bag; send four of them, for products b1 to b4, and
  the offer groobee-bag goes out; the same bytes again would be the same event)
See offers as a subscriber receives them:
  nats sub 'offers.>' -s %s
See what is stored about a user:
  offerctl user me --nats %s
Have these campaigns in a folder, to change them:
  offerctl new demo

`, d.shopURL, d.seed, demoKey, d.node.addr, url, url)
}

// show prints an offer as it goes out.
func (d *demoRun) show(m *nats.Msg) {
	n := d.offers.Add(1)
	var o pipeline.Offer
	if d.json || json.Unmarshal(m.Data, &o) != nil {
		return
	}
	if d.events != "" && n > 20 {
		return // a file may yield thousands of offers
	}
	d.live.done()
	user := o.User
	if o.Anon {
		user = "~" + user // as in scenarios
	}
	fmt.Fprintf(d.std.out, "%s  %-6s %-20s %-16s %s\n", o.Time[11:19], o.Channel, o.Campaign, user, headline(o.Data))
	if d.events == "" && !o.Anon && !d.pointed {
		d.pointed = true
		fmt.Fprintf(d.std.out, "\nAsk why this offer went out to %s, and why others did not:\n  offerctl explain %s --nats %s\n\n", o.User, o.User, d.node.natsURL())
	}
	if d.events != "" && n == 20 {
		fmt.Fprintln(d.std.out, "...")
	}
}

// headline returns the part of an offer that a person would see first.
func headline(data json.RawMessage) string {
	var m map[string]any
	if json.Unmarshal(data, &m) == nil {
		for _, k := range []string{"title", "subject", "text"} {
			if s, ok := m[k].(string); ok {
				return s
			}
			if texts, ok := m[k].(map[string]any); ok { // one for each language
				if s, ok := texts["en"].(string); ok {
					return s
				}
			}
		}
	}
	return string(data)
}

// send sends the file, or the shoppers' events until the time is over.
func (d *demoRun) send(ctx context.Context) error {
	s := newSender("http://"+d.node.addr, demoKey)
	if d.in != nil {
		r := &replayer{sender: s}
		if err := r.run(ctx, d.in); err != nil {
			return fmt.Errorf("%s, line %d: %w", d.events, d.in.n, err)
		}
		if err := r.refused.all(d.in, r.sent); err != nil {
			return fmt.Errorf("%s: %w", d.events, err)
		}
		d.in.close()
		if r.refused.n > 0 {
			fmt.Fprintf(d.std.err, "%d lines are not valid events, the first is line %d: %v\n", r.refused.n, r.refused.line, r.refused.first)
		}
		r.refused.warn(d.std.err, d.in)
		return nil
	}
	shop, start, sent := newShop(d.seed), time.Now(), 0
	shop.meets = newMeeting(d.seed)
	shop.run = fmt.Sprintf("demo-%d-%d", d.seed, start.UnixNano())
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		if d.most > 0 && now.Sub(start) >= d.most {
			return nil
		}
		var batch [][]byte
		for due := int(now.Sub(start).Seconds() * demoRate); sent < due && len(batch) < batchEvents; sent++ {
			batch = append(batch, shop.next(now))
		}
		if len(batch) == 0 {
			continue
		}
		if err := s.batch(ctx, batch); err != nil {
			return ended(ctx, err)
		}
		took := now.Sub(start).Seconds()
		d.live.show("%d events, %.0f/s   %d offers, %.1f/s   %d shoppers", sent, float64(sent)/took, d.offers.Load(), float64(d.offers.Load())/took, len(shop.shoppers))
	}
}

// writeOffers writes the stored offers to --out, partition by partition.
func (d *demoRun) writeOffers(ctx context.Context) error {
	if d.out == "" {
		return nil
	}
	f, err := os.Create(d.out)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for p := range d.node.conn.Partitions {
		err := d.node.conn.ScanOffers(ctx, p, func(r broker.Record) error {
			if r.Chain == "page" {
				return nil
			}
			w.Write(r.Data)
			return w.WriteByte('\n')
		})
		if err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing offers: %w", err)
	}
	return f.Close()
}

// summary prints the result. It returns an error if the offers are wrong.
func (d *demoRun) summary(s demoSummary, v audit.Verdict) error {
	if d.json {
		enc := json.NewEncoder(d.std.out)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(d.std.out, "\n%d events accepted, %d applied, %d offers, in %.1f s\n", s.Accepted, s.Applied, s.Offers, s.Seconds)
		if s.Rejected > 0 {
			fmt.Fprintf(d.std.out, "%d events were refused: they are stored as dead letters\n", s.Rejected)
		}
		explain.PrintUnfired(d.std.out, s.Unfired)
		fmt.Fprintf(d.std.out, "compared with the log: %d offers missing, %d duplicate, %d different\n", s.Missing, s.Duplicate, s.Different)
	}
	if !v.OK() {
		var lines strings.Builder
		for _, e := range v.Examples {
			fmt.Fprintf(&lines, "\n  %s", e)
		}
		return fmt.Errorf("the stored offers are not those that the log yields:%s", lines.String())
	}
	if s.Accepted != s.Applied {
		return fmt.Errorf("%d events were accepted, but %d applied", s.Accepted, s.Applied)
	}
	return nil
}
