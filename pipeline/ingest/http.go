package ingest

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"offerstream/config"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// bodySlack is how many bytes of white space may surround a single event.
const bodySlack = 1 << 10

// pathOf returns the path without slashes that mean nothing: some SDKs append
// theirs to an address that ends with one, others end theirs with one. A redirect
// would not do, as clients follow it without the body.
func pathOf(r *http.Request) string {
	p := r.URL.Path
	if _, ok := routes[p]; ok {
		return p
	}
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return strings.TrimSuffix(p, "/")
}

// ServeHTTP accepts events, and answers /healthz and /readyz.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := pathOf(r)
	id := g.ids.of(r)
	w.Header()[headerRequest] = []string{id}
	g.allowOrigin(w, r)
	if r.Method == http.MethodOptions {
		preflight(w)
		return
	}
	if g.opt.Page != nil && g.serveOffers(w, r, path, id) {
		return
	}
	rt, ok := routes[path]
	if !ok {
		g.serveOther(w, r, path)
		return
	}
	if rt.coupon {
		g.changeCoupon(w, r, path, rt, id)
		return
	}
	t, err := g.take(w, r, rt, id)
	if err == nil {
		g.met.requests.Inc()
		if rt.batch {
			answerBatch(w, t)
		} else {
			answerOK(w)
		}
		g.tell(path, t.heard, nil)
		return
	}
	p := g.problemOf(err, id)
	g.met.answers.WithLabelValues(p.reason).Inc()
	if p.status == http.StatusTooManyRequests {
		g.met.limits.WithLabelValues(p.reason).Inc()
	}
	answer(w, p, id)
	g.tell(path, t.heard, p)
}

func (g *Gateway) serveOther(w http.ResponseWriter, r *http.Request, path string) {
	if s, part := stubOf(path); s != nil {
		w.Header()["Content-Type"] = typeJSON
		w.Write(s.body(r, part))
		return
	}
	if token, ok := g.unsubscribePath(path); ok {
		g.serveUnsubscribe(w, r, token)
		return
	}
	if strings.HasPrefix(path, couponPath) && r.Method == http.MethodGet {
		g.lookCoupon(w, r, path, w.Header()[headerRequest][0])
		return
	}
	switch path {
	case "/healthz":
		w.Write([]byte("ok\n"))
	case "/readyz":
		if err := g.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ready\n"))
	default:
		g.met.answers.WithLabelValues(errPath.reason).Inc()
		answer(w, errPath, w.Header()[headerRequest][0])
		if r.Method == http.MethodPost { // an SDK, and no browser that looks for an icon
			g.tell(path, hearing{}, errPath)
		}
	}
}

// problemOf returns what to tell the client about an error.
func (g *Gateway) problemOf(err error, id string) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var rej *event.Reject
	if errors.As(err, &rej) {
		status := http.StatusBadRequest
		if rej.Reason == "size" {
			status = http.StatusRequestEntityTooLarge
		}
		return &problem{status, rej.Reason, clip(rej.Detail), 0}
	}
	var no *event.Denied
	if errors.As(err, &no) {
		status := http.StatusForbidden
		if no.Reason == event.DeniedUnproved {
			status = http.StatusUnauthorized
		}
		return &problem{status, no.Reason, clip(no.Detail), 0}
	}
	if errors.Is(err, errGone) {
		return errLeft
	}
	g.opt.Logger.Debug("events not stored", "request", id, "error", err) // the lane has logged a warning
	return errLog
}

// A tally is how many events of a request were accepted and refused, and how many of
// the refused its key may not send, and how many are of bots.
type tally struct {
	accepted, refused, denied, bots int
	heard                           hearing
}

// take handles one request. It returns nil once every accepted event of the
// request is acknowledged. The request takes a slot when its body is there: how
// long that takes is up to the client.
func (g *Gateway) take(w http.ResponseWriter, r *http.Request, rt route, id string) (t tally, err error) {
	if r.Method != http.MethodPost {
		return t, errMethod
	}
	if g.draining.Load() {
		return t, errDrain
	}
	name, _, named := r.BasicAuth()
	ring := g.keys.Load()
	var key *config.Key
	if named {
		key = ring.find(name)
	}
	if !named && rt.of.key != nil {
		if given := rt.of.key(r); given != "" {
			named, key = true, ring.find(given)
		}
	}
	if named && key == nil || !named && r.Header.Get("Authorization") != "" {
		return t, errKey
	}
	if err := g.able(); err != nil {
		return t, errLog
	}
	limit := event.MaxEventBytes + bodySlack
	if rt.batch {
		limit = MaxBatchBytes
	}
	now, from := g.opt.Now(), g.proxies.clientOf(r)
	t.heard = hearing{to: g.listeners.now.Load(), of: &g.listeners, at: now, key: key}
	if key != nil {
		if err := g.admitSender(key, from, now); err != nil {
			return t, err
		}
	}
	b, text, err := g.readBody(w, r, limit, from)
	if err != nil {
		return t, err
	}
	select {
	case g.slots <- struct{}{}:
	default:
		b.release()
		if g.draining.Load() {
			return t, errDrain
		}
		return t, errRequests
	}
	g.met.inFlight.Inc()
	defer func() { g.met.inFlight.Dec(); <-g.slots }()

	req := requests.Get().(*request)
	defer req.release()
	req.key, req.id, req.heard = key, id, t.heard
	if err = g.fill(req, ring, r, b, text, rt, now); req.key != nil && !isLimit(err) {
		if over := g.chargeSender(req, from, now); err == nil {
			err = over
		}
	}
	if err == nil {
		err = g.store(r.Context(), req)
	}
	req.heard.key = req.key
	return tally{req.events + req.facts + req.clocks, len(req.refused) + len(req.denied) + req.bots, len(req.denied), req.bots, req.heard}, err
}

// fill reads the events in the body's text into req, and releases the body. now is
// when it was received.
func (g *Gateway) fill(req *request, ring *keyring, r *http.Request, b *body, text []byte, rt route, now int64) (err error) {
	defer b.release()
	env := envelopes.Get().(*envelope)
	defer envelopes.Put(env)
	if rt.of.text != nil {
		if text, err = rt.of.text(r, text); err != nil {
			return err
		}
	}
	if text, err = b.finite(text); err != nil {
		return err
	}
	var broken error
	switch {
	case rt.of.split != nil:
		broken = rt.of.split(env, text)
	case rt.batch:
		broken = env.read(text)
	}
	if req.key == nil {
		given := env.writeKey
		if !rt.batch {
			given = textOf(text, "writeKey")
		}
		if req.key = ring.find(given); req.key == nil {
			return errKey
		}
		if err := g.admitSender(req.key, b.from, now); err != nil {
			return err
		}
	}
	from, err := newSender(req.key, ring.sets, r.Header, now)
	if err != nil {
		return err
	}
	req.sender, from.request = from.name(), req.id
	a := admission{sender: from, visitors: g.visitors(), receivedAt: value.FormatTime(now), translate: rt.of.event}
	if g.opt.Log.Clock() == campaign.ClockEvent {
		a.times = &g.times
	}
	if g.opt.DropBots && !from.trusted() {
		a.bots = newBots(r.Header)
	}
	a.decoder = decoders.Get().(*event.Decoder)
	defer decoders.Put(a.decoder)
	if rt.batch {
		return g.fillBatch(req, &a, text, env, broken)
	}
	return g.fillOne(req, &a, text, rt.def)
}

func (g *Gateway) fillOne(req *request, a *admission, text []byte, def event.Type) error {
	v, err := soleValue(text)
	if err != nil {
		return bad("json", err)
	}
	return g.placeOne(req, a, text, v, def)
}

// placeOne is place for an event that is sent alone.
func (g *Gateway) placeOne(req *request, a *admission, text []byte, v jsonValue, def event.Type) error {
	raw, err := g.place(req, a, text, v, def)
	req.note(raw, def, err)
	if err == nil { // without memory for what errors.As finds
		return nil
	}
	var rej *event.Reject
	var no *event.Denied
	switch {
	case errors.As(err, &rej):
		g.met.rejected.WithLabelValues(rej.Reason).Inc()
	case errors.As(err, &no):
		g.met.rejected.WithLabelValues(no.Reason).Inc()
		g.denied.note(a.sender.now, &a.sender, no)
	case err == errBot: // its SDK need not send again
		req.bots++
		return nil
	}
	return err
}

// fillBatch is fill for a batch. err is that of reading the envelope.
func (g *Gateway) fillBatch(req *request, a *admission, text []byte, env *envelope, err error) error {
	switch {
	case err == errTooManyEvents:
		return &problem{http.StatusRequestEntityTooLarge, "size", err.Error(), 0}
	case err != nil:
		return bad("json", err)
	}
	if at, err := value.ParseTime(env.sentAt); err == nil {
		a.sentAt = value.FormatTime(at)
	}
	if env.token != "" {
		a.sender.token = env.token
	}
	if env.visitor != "" {
		a.sender.visitor = env.visitor
	}
	if env.context.present() {
		if a.context = env.context.of(text); mayHaveToken(a.context) {
			if env.token == "" {
				a.sender.token = cmp.Or(textOf(a.context, memberToken), a.sender.token)
			}
			if env.visitor == "" {
				a.sender.visitor = cmp.Or(textOf(a.context, memberVisitor), a.sender.visitor)
			}
			a.context = withoutToken(a.context)
		}
		if g.redaction != nil {
			in := g.redaction.members["context"]
			if a.context, _ = in.append(nil, a.context); in != nil && in.drop {
				a.context = nil
			}
		}
	}
	if env.single {
		return g.placeOne(req, a, text, env.events[0], 0)
	}
	for _, v := range env.events {
		raw, err := g.place(req, a, text, v, 0)
		req.note(raw, 0, err)
		if err == nil { // without memory for what errors.As finds
			continue
		}
		var rej *event.Reject
		var no *event.Denied
		switch {
		case errors.As(err, &rej):
			req.refuse(rej, raw)
		case errors.As(err, &no):
			req.denied = append(req.denied, no.Reason)
			g.denied.note(a.sender.now, &a.sender, no)
		case err == errBot:
			req.bots++
		default:
			return err
		}
	}
	return nil
}

// textOf is the text of the first member of an object that has a name, "" if there is none.
func textOf(object []byte, member string) string {
	for m := (members{b: object}); ; {
		key, val, ok := m.next()
		if !ok {
			return ""
		}
		if name(key.of(object)) == member {
			return stringOf(val.of(object))
		}
	}
}

func bad(reason string, err error) error {
	return &problem{http.StatusBadRequest, reason, clip(err.Error()), 0}
}

// store sends what the request holds and waits for the acknowledgements of its
// events. The letterbox says how long it waits for its letters.
func (g *Gateway) store(ctx context.Context, req *request) error {
	if len(req.parcels) == 0 && len(req.refused) == 0 {
		g.tally(req)
		return nil
	}
	held := cap(req.text)
	if err := g.memory.take(held); err != nil {
		return err
	}
	defer g.memory.give(held)
	start := time.Now()
	req.deadline = start.Add(g.opt.Timeout)
	if !dispatch(req) {
		return errQueue
	}
	letters := g.letters.put(req.key, req.sender, req.text, req.refused)
	if len(req.parcels) > 0 {
		if err := req.wait(ctx, g.opt.Timeout); err != nil {
			return err
		}
	}
	g.letters.await(letters, start.Add(letterWait), ctx.Done(), g.stopped)
	g.tally(req)
	return nil
}

// tally counts the events of a request that is answered with 200.
func (g *Gateway) tally(req *request) {
	g.met.accepted.Add(float64(req.events))
	g.met.facts.Add(float64(req.facts))
	g.met.clocks.Add(float64(req.clocks))
	for _, r := range req.refused {
		g.met.rejected.WithLabelValues(r.why.Reason).Inc()
	}
	for _, reason := range req.denied {
		g.met.rejected.WithLabelValues(reason).Inc()
	}
	if req.bots > 0 {
		g.met.rejected.WithLabelValues("bot").Add(float64(req.bots))
	}
}
