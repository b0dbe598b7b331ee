package ingest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// bodySlack is how many bytes of white space may surround a single event.
const bodySlack = 1 << 10

// A route is one path under /v1/.
type route struct {
	batch bool
	def   event.Type // the type of an event that has none
}

// routes has /v1/batch, and a path for each type of event.
var routes = func() map[string]route {
	all := map[string]route{"/v1/batch": {batch: true}}
	for t := event.Track; t < event.Clock; t++ {
		all["/v1/"+t.String()] = route{def: t}
	}
	return all
}()

// ServeHTTP accepts events, and answers /healthz and /readyz.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rt, ok := routes[r.URL.Path]
	if !ok {
		g.serveOther(w, r)
		return
	}
	w.Header()["Access-Control-Allow-Origin"] = anyOrigin
	if r.Method == http.MethodOptions {
		preflight(w)
		return
	}
	err := g.take(r, rt)
	if err == nil {
		g.met.requests.Inc()
		answerOK(w)
		return
	}
	p := g.problemOf(err)
	g.met.answers.WithLabelValues(p.reason).Inc()
	if p.status == http.StatusTooManyRequests {
		g.met.limits.WithLabelValues(p.reason).Inc()
	}
	answer(w, p)
}

func (g *Gateway) serveOther(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
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
		answer(w, errPath)
	}
}

// problemOf returns what to tell the client about an error.
func (g *Gateway) problemOf(err error) *problem {
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
		return &problem{status, rej.Reason, clip(rej.Detail)}
	}
	if errors.Is(err, errGone) {
		return errLeft
	}
	g.opt.Logger.Debug("events not stored", "error", err) // the lane has logged a warning
	return errLog
}

// take handles one request. It returns nil once every event of the request is
// acknowledged, the refused ones as dead letters.
func (g *Gateway) take(r *http.Request, rt route) error {
	if r.Method != http.MethodPost {
		return errMethod
	}
	if g.draining.Load() {
		return errDrain
	}
	select {
	case g.slots <- struct{}{}:
	default:
		if g.draining.Load() {
			return errDrain
		}
		return errRequests
	}
	g.met.inFlight.Inc()
	defer func() { g.met.inFlight.Dec(); <-g.slots }()

	key, _, hasKey := r.BasicAuth()
	if hasKey && !g.known(key) || !hasKey && r.Header.Get("Authorization") != "" {
		return errKey
	}
	if err := g.able(); err != nil {
		return errLog
	}
	req := requests.Get().(*request)
	defer req.release()
	if err := g.fill(req, r, rt, hasKey); err != nil {
		return err
	}
	return g.store(r.Context(), req)
}

// fill reads the request's body into req.
func (g *Gateway) fill(req *request, r *http.Request, rt route, trusted bool) error {
	now := g.opt.Now()
	limit := event.MaxEventBytes + bodySlack
	if rt.batch {
		limit = MaxBatchBytes
	}
	b, text, err := readBody(r, limit, &g.memory)
	if err != nil {
		return err
	}
	defer b.release()
	a := admission{receivedAt: value.FormatTime(now)}
	if g.opt.Log.Clock() == campaign.ClockEvent {
		a.times = &g.times
	}
	a.decoder = decoders.Get().(*event.Decoder)
	defer decoders.Put(a.decoder)
	if rt.batch {
		return g.fillBatch(req, &a, text, trusted)
	}
	return g.fillOne(req, &a, text, rt.def, trusted)
}

func (g *Gateway) fillOne(req *request, a *admission, text []byte, def event.Type, trusted bool) error {
	if !trusted && !g.known(bodyKey(text)) {
		return errKey
	}
	v, err := scanValue(text, skipSpace(text, 0))
	if err != nil {
		return bad("json", err)
	}
	if i := skipSpace(text, v.to); i < len(text) {
		return bad("json", errors.New("the body goes on after the event"))
	}
	err = g.place(req, a, text, v, def)
	var rej *event.Reject
	if errors.As(err, &rej) {
		g.met.rejected.WithLabelValues(rej.Reason).Inc()
	}
	return err
}

func (g *Gateway) fillBatch(req *request, a *admission, text []byte, trusted bool) error {
	env := envelopes.Get().(*envelope)
	defer envelopes.Put(env)
	err := env.read(text)
	switch {
	case !trusted && !g.known(env.writeKey):
		return errKey
	case err == errTooManyEvents:
		return &problem{http.StatusRequestEntityTooLarge, "size", err.Error()}
	case err != nil:
		return bad("json", err)
	}
	if at, err := value.ParseTime(env.sentAt); err == nil {
		a.sentAt = value.FormatTime(at)
	}
	if env.context.present() {
		a.context = env.context.of(text)
	}
	for _, v := range env.events {
		err := g.place(req, a, text, v, 0)
		var rej *event.Reject
		switch {
		case errors.As(err, &rej):
			g.bury(req, rej, v.of(text))
		case err != nil:
			return err
		}
	}
	return nil
}

// bodyKey returns the writeKey in the body of a single event.
func bodyKey(text []byte) string {
	m := members{b: text}
	for {
		key, val, ok := m.next()
		if !ok {
			return ""
		}
		if name(key.of(text)) == "writeKey" {
			return stringOf(val.of(text))
		}
	}
}

func bad(reason string, err error) error {
	return &problem{http.StatusBadRequest, reason, clip(err.Error())}
}

// place admits one event and adds it to its partition's parcel; a clock event to
// the parcels of all partitions.
func (g *Gateway) place(req *request, a *admission, text []byte, v jsonValue, def event.Type) error {
	from := len(req.text)
	out, ev, err := a.admit(req.text, text, v, def)
	if err != nil {
		return err
	}
	req.text = out
	if ev.Type == event.Clock {
		req.clocks++
		for _, l := range g.lanes {
			req.add(l, from, nil)
		}
		return nil
	}
	req.events++
	req.add(g.lanes[event.Partition(ev.Key, len(g.lanes))], from, nil)
	return nil
}

// bury makes a dead letter of a refused event.
func (g *Gateway) bury(req *request, why *event.Reject, raw []byte) {
	why.Detail = clip(why.Detail)
	from := len(req.text)
	req.text = append(req.text, raw...)
	req.add(g.dead[len(req.letters)%len(g.dead)], from, why)
	req.letters = append(req.letters, why)
}

// store sends what the request holds and waits for the acknowledgements.
func (g *Gateway) store(ctx context.Context, req *request) error {
	if len(req.parcels) == 0 {
		return nil
	}
	held := cap(req.text)
	if err := g.memory.take(held); err != nil {
		return err
	}
	defer g.memory.give(held)
	req.deadline = time.Now().Add(g.opt.Timeout)
	if !dispatch(req) {
		return errQueue
	}
	if err := req.wait(ctx.Done(), g.stopped); err != nil {
		return err
	}
	g.met.accepted.Add(float64(req.events))
	g.met.clocks.Add(float64(req.clocks))
	for _, l := range req.letters {
		g.met.rejected.WithLabelValues(l.Reason).Inc()
	}
	g.met.letters.Add(float64(len(req.letters)))
	return nil
}
