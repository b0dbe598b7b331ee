package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/page"
)

// A pageScene is a deployment with one partition, and a gateway that serves offers.
type pageScene struct {
	t    *testing.T
	ns   *embedded.Server
	conn *broker.Conn
	keys *page.Keys
	sent uint64
	page *page.Page
	g    *Gateway
	url  string
	stop func()
	logs []*fakeLog // of each gateway
}

func newPageScene(t *testing.T, change ...func(*page.Options)) *pageScene {
	t.Helper()
	ns, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	s := &pageScene{t: t, ns: ns}
	s.conn, err = broker.Connect(limitedTest(t), broker.Options{InProcess: ns, Partitions: 1, Reconnect: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.conn.Close)
	s.keys = page.NewKeys([][]byte{[]byte("a key of visitors")})
	s.start(change...)
	return s
}

func limitedTest(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// start starts a gateway, and waits until it serves offers.
func (s *pageScene) start(change ...func(*page.Options)) {
	s.t.Helper()
	o := page.Options{Keys: s.keys, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&o)
	}
	s.page = page.New(o)
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan struct{})
	go func() { s.page.Run(ctx, s.conn); close(ended) }()
	s.logs = append(s.logs, newFakeLog(1))
	s.g = newGateway(s.t, s.logs[len(s.logs)-1], func(o *Options) {
		o.Page, o.Now = s.page, nil
		o.WriteKeys = []string{"browser"}
		o.Keys = []config.Key{{Name: "web", Hash: config.KeyOf("web", "web", event.Browser).Hash, Roles: event.Browser, Secret: []byte(testSecret)}}
	})
	srv := httptest.NewUnstartedServer(s.g)
	if s.url != "" { // it was started before, and pages come again
		l, err := net.Listen("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			s.t.Fatal(err)
		}
		srv.Listener.Close()
		srv.Listener = l
	}
	srv.Start()
	s.url = srv.URL
	s.stop = func() { s.page.Close(); srv.CloseClientConnections(); srv.Close(); cancel(); <-ended }
	s.t.Cleanup(func() { s.stop() })
	await(s.t, "the gateway serves offers", func() bool { _, err := s.page.List("u:nobody"); return err == nil })
}

func offerID(n uint64) string { return fmt.Sprintf("%032x", n) }

// offer stores a web offer and returns its id.
func (s *pageScene) offer(user string, anonymous bool, campaign string, change ...func(*pipeline.Offer)) string {
	s.t.Helper()
	s.sent++
	o := &pipeline.Offer{ID: offerID(s.sent), Campaign: campaign, Channel: "web", Kind: "advertising", User: user, Anon: anonymous, Event: "m", Time: "2026-01-02T15:04:05Z", Data: json.RawMessage(`{"title":"for ` + user + `"}`)}
	for _, c := range change {
		c(o)
	}
	body, err := o.AppendJSON(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.store("offers.web.0", body)
	return o.ID
}

func (s *pageScene) store(subject string, body []byte) {
	s.t.Helper()
	if _, err := s.conn.JS.PublishMsg(limitedTest(s.t), &nats.Msg{Subject: subject, Data: body}); err != nil {
		s.t.Fatal(err)
	}
}

// awaitOpen waits until an offer is on the board.
func (s *pageScene) awaitOpen(key, offer string) {
	s.t.Helper()
	await(s.t, "an offer is on the board", func() bool {
		all, _ := s.page.List(key)
		return slices.ContainsFunc(all, func(o *page.Offer) bool { return o.ID == offer })
	})
}

func (s *pageScene) record(format string, args ...any) {
	s.t.Helper()
	s.store("page.0", fmt.Appendf(nil, format, args...))
}

// visitor asks for an id.
func (s *pageScene) visitor(old string, query ...string) (id, token string) {
	s.t.Helper()
	r, _ := http.NewRequest("POST", s.url+"/v1/visitor"+strings.Join(query, ""), nil)
	if old != "" {
		r.Header.Set("Authorization", "Bearer "+old)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct{ ID, Token, Expires string }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.StatusCode != 200 || !s.keys.Proves(got.Token, got.ID, time.Now()) {
		s.t.Fatalf("%d: %+v, %v", resp.StatusCode, got, err)
	}
	return got.ID, got.Token
}

func byToken(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func byUser(user string) http.Header {
	h := byToken(UserToken([]byte(testSecret), user, time.Now().Add(time.Hour)))
	h.Set(headerUser, url.PathEscape(user))
	h.Set(headerKey, "web")
	return h
}

func byKey(key string) http.Header {
	r, _ := http.NewRequest("GET", "/", nil)
	r.SetBasicAuth(key, "")
	return r.Header
}

// get returns the answer to a request.
func (s *pageScene) get(path string, h http.Header) (int, string) {
	s.t.Helper()
	r, _ := http.NewRequestWithContext(limitedTest(s.t), "GET", s.url+path, nil)
	r.Header = h
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		return resp.StatusCode, "a stream"
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		s.t.Errorf("%s: Cache-Control is %q", path, resp.Header.Get("Cache-Control"))
	}
	return resp.StatusCode, string(b)
}

// An sse is an open stream.
type sse struct {
	t    *testing.T
	in   *bufio.Scanner
	stop context.CancelFunc
	last string // id
}

func (s *pageScene) stream(h http.Header, last string) *sse {
	s.t.Helper()
	ctx, cancel := context.WithCancel(limitedTest(s.t))
	r, _ := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/offers/stream", nil)
	r.Header = h.Clone()
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cancel(); resp.Body.Close() })
	if resp.StatusCode != 200 {
		b, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("%d %s", resp.StatusCode, b)
	}
	return &sse{t: s.t, in: bufio.NewScanner(resp.Body), stop: cancel, last: last}
}

// next returns the next event as "offer ID", "gone ID REASON" or its name; "" at the end.
func (e *sse) next() string {
	e.t.Helper()
	name, data := "", ""
	for e.in.Scan() {
		line := e.in.Text()
		if line == "" && name != "" {
			var of struct{ ID, Reason string }
			if err := json.Unmarshal([]byte(data), &of); err != nil {
				e.t.Fatalf("%s %q: %v", name, data, err)
			}
			return strings.TrimSpace(name + " " + strings.TrimLeft(of.ID, "0") + " " + of.Reason)
		}
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "id":
			e.last = value
		case "event":
			name = value
		case "data":
			data = value
		}
	}
	return ""
}

func (e *sse) want(all ...string) {
	e.t.Helper()
	for _, want := range all {
		if got := e.next(); got != want {
			e.t.Fatalf("the stream has %q, want %q", got, want)
		}
	}
}

// TestOffersStream: an offer appears once, goes for each reason, and a page that comes again
// is told the difference, also by a gateway that has just begun.
func TestOffersStream(t *testing.T) {
	s := newPageScene(t)
	id, token := s.visitor("")
	s.awaitOpen("a:"+id, s.offer(id, true, "before"))
	e := s.stream(byToken(token), "")
	e.want("offer 1")
	s.offer(id, true, "x")
	s.offer("other", true, "x")
	s.offer(id, false, "x") // a user whose id is the visitor's
	s.offer(id, true, "x")
	e.want("offer 2", "gone 2 superseded", "offer 5")
	s.record(`{"type":"redeemed","user":%q,"offer":%q}`, id, offerID(5))
	e.want("gone 5 redeemed")
	s.record(`{"type":"voided","user":%q,"offer":%q}`, id, offerID(5))
	e.want("offer 5")
	pauses, rev, err := s.conn.Pauses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pauses.Revision, pauses.Campaigns = 1, []string{"x"}
	if err := s.conn.PutPauses(t.Context(), pauses, rev); err != nil {
		t.Fatal(err)
	}
	e.want("gone 5 paused")
	s.offer(id, true, "soon", func(o *pipeline.Offer) {
		o.Expires = time.Now().Add(300 * time.Millisecond).UTC().Format(time.RFC3339Nano)
	})
	e.want("offer 6", "gone 6 expired")
	e.stop()

	for _, restart := range []bool{false, true} {
		s.offer(id, true, "before")
		s.awaitOpen("a:"+id, s.offer(id, true, fmt.Sprint("new", restart)))
		if restart {
			s.stop()
			s.start()
		}
		e2 := s.stream(byToken(token), e.last)
		n := s.sent
		if !restart {
			e2.want("gone 1 ended", fmt.Sprintf("offer %x", n-1), fmt.Sprintf("offer %x", n))
		} else {
			e2.want(fmt.Sprintf("gone %x ended", n-4), fmt.Sprintf("offer %x", n-1), fmt.Sprintf("offer %x", n))
		}
		s.offer(id, true, fmt.Sprint("last", restart)) // nothing comes before it
		e2.want(fmt.Sprintf("offer %x", s.sent))
		e2.stop()
		e = e2
	}
	s.awaitOpen("a:"+id, s.offer(id, true, "gateways"))
	e = s.stream(byToken(token), e.last)
	e.want(fmt.Sprintf("offer %x", s.sent))
	s.page.Close()
	e.want("again  restart", "")
	if code, body := s.get("/v1/offers/stream", byToken(token)); code != 503 || !strings.Contains(body, `"reason":"board"`) {
		t.Errorf("while it stops: %d %s", code, body)
	}
}

// TestOffersMerge: a visitor's open offers become the user's, his stream ends with login, and
// so does each later one; what he gets afterwards is the user's.
func TestOffersMerge(t *testing.T) {
	s := newPageScene(t)
	id, token := s.visitor("")
	e, of := s.stream(byToken(token), ""), s.stream(byUser("ann/é"), "")
	s.offer(id, true, "x")
	e.want("offer 1")
	s.record(`{"type":"merged","visitor":%q,"user":"ann/é","time":"2026-01-02T15:04:05Z"}`, id)
	e.want("login", "")
	of.want("offer 1")
	s.offer(id, true, "y")
	of.want("offer 2")
	s.stream(byToken(token), e.last).want("login", "")
	if code, body := s.get("/v1/offers", byToken(token)); code != 200 || body != `{"offers":[]}` {
		t.Errorf("the visitor has %d %s", code, body)
	}
	s.stream(byUser("ann/é"), e.last).want("offer 2") // the page has the first already
	s.stop()
	s.start()
	s.stream(byUser("ann/é"), "").want("offer 1", "offer 2")
	s.stream(byToken(token), "").want("login", "")
}

// TestOffersOrder: a gateway that begins reads both kinds of records in the order in which
// they were stored. Here the user's offer, which has expired, replaces the visitor's only if
// the merge is taken to be before it.
func TestOffersOrder(t *testing.T) {
	s := newPageScene(t)
	s.offer("sdk", true, "c")
	s.offer("ann", false, "c", func(o *pipeline.Offer) { o.Expires = time.Now().Add(-time.Minute).UTC().Format(time.RFC3339Nano) })
	s.record(`{"type":"merged","visitor":"sdk","user":"ann"}`)
	for range 2 {
		s.awaitOpen("u:ann", offerID(1))
		s.stop()
		s.start()
	}
	if all, _ := s.page.List("u:ann"); len(all) != 1 {
		t.Errorf("the user has %d offers", len(all))
	}
}

// TestOffersShrunk: where OFFERS has lost what the gateway has read, its streams end and
// its board is made again of what is there.
func TestOffersShrunk(t *testing.T) {
	s := newPageScene(t)
	for _, campaign := range []string{"x", "y"} {
		s.offer("ann", false, campaign)
	}
	e := s.stream(byUser("ann"), "")
	e.want("offer 1", "offer 2")
	if err := s.conn.JS.DeleteStream(t.Context(), s.conn.Names.OffersStream()); err != nil {
		t.Fatal(err)
	}
	c, err := broker.Connect(limitedTest(t), broker.Options{InProcess: s.ns, Log: slog.New(slog.DiscardHandler)}) // makes it again
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e.want("again  restart", "")
	id := s.offer("ann", false, "z")
	s.awaitOpen("u:ann", id)
	s.stream(byUser("ann"), e.last).want("gone 1 ended", "gone 2 ended", "offer 3")
}

// TestOffersOfOthers walks every kind of token and key, over every id and endpoint: none
// shows an offer of another.
func TestOffersOfOthers(t *testing.T) {
	s := newPageScene(t)
	vis, visToken := s.visitor("")
	vis2, _ := s.visitor("")
	whose := map[string]string{} // by text of the offer
	for _, u := range []struct {
		id   string
		anon bool
	}{{vis, true}, {vis2, true}, {"sdk", true}, {"ann", false}, {"bob", false}, {vis, false}, {"ann", true}, {"u:ann", false}, {"u:ann", true}} {
		s.offer(u.id, u.anon, "x", func(o *pipeline.Offer) { o.Data = json.RawMessage(fmt.Sprintf(`"secret of %s"`, o.Entity())) })
		whose[event.UserKey(u.id, u.anon)] = fmt.Sprintf(`"secret of %s"`, event.UserKey(u.id, u.anon))
	}
	await(t, "all offers are read", func() bool { all, _ := s.page.List("a:u:ann"); return len(all) == 1 })
	expired, _ := s.keys.Token(vis, time.Now().Add(-time.Hour))
	foreign := page.NewKeys([][]byte{[]byte("another's key")})
	forged, _ := foreign.Token(vis, time.Now())
	unissued, _ := s.keys.Token("ov_"+strings.Repeat("A", 43), time.Now())
	userAs := func(user, as string) http.Header {
		h := byUser(user)
		h.Set(headerUser, as)
		return h
	}
	both := byUser("ann")
	both.Set("Authorization", "Bearer "+visToken)
	for name, c := range map[string]struct {
		h   http.Header
		key string // whose offers it opens; "": none
	}{
		"visitor":                 {byToken(visToken), "a:" + vis},
		"visitor with a user":     {both, "a:" + vis},
		"expired visitor":         {byToken(expired), ""},
		"forged visitor":          {byToken(forged), ""},
		"an id not issued":        {byToken(unissued), ""},
		"a visitor's id":          {byToken(vis), ""},
		"user":                    {byUser("ann"), "u:ann"},
		"user as another":         {userAs("ann", "bob"), ""},
		"user as a visitor":       {userAs("ann", vis), ""},
		"user with a prefix":      {byUser("u:ann"), "u:u:ann"},
		"user named as a visitor": {byUser(vis), "u:" + vis},
		"user without a name":     {userAs("ann", ""), ""},
		"user, bad name":          {userAs("ann", "%zz"), ""},
		"nobody":                  {http.Header{}, ""},
		"browser key":             {byKey("browser"), ""},
		"browser key with secret": {byKey("web"), ""},
		"no key":                  {byKey("none"), ""},
		"the key as a token":      {byToken("web"), ""},
		"server key":              {byKey(testKey), ""},
		"server key as a token":   {byToken(testKey), ""},
		"a cookie":                {http.Header{"Cookie": {visitorCookie + "=" + visToken}}, ""},
	} {
		for _, query := range []string{"", "?user=ann", "?user=bob", "?visitor=" + vis, "?visitor=" + vis2, "?visitor=sdk", "?user=ann&user=bob", "?user=ann&visitor=sdk", "?user=", "?token=" + visToken, "?user=ann&x=1"} {
			want := c.key
			if query != "" {
				want = ""
			}
			if name == "server key" {
				want = map[string]string{"?user=ann": "u:ann", "?user=bob": "u:bob", "?visitor=" + vis: "a:" + vis, "?visitor=" + vis2: "a:" + vis2, "?visitor=sdk": "a:sdk"}[query]
			}
			code, body := s.get("/v1/offers"+query, c.h)
			if (code == 200) != (want != "") {
				t.Errorf("%s, %s: %d %s", name, query, code, body)
			}
			for key, text := range whose {
				if strings.Contains(body, text) != (key == want) {
					t.Errorf("%s, %s: %s", name, query, body)
				}
			}
			if code != 200 && (!strings.Contains(body, `"do":"`) || strings.Contains(body, `"do":""`)) {
				t.Errorf("%s, %s says not what to do: %s", name, query, body)
			}
			if opens := c.key != "" && query == ""; !opens { // a stream is by token alone
				if code, body := s.get("/v1/offers/stream"+query, c.h); code == 200 {
					t.Errorf("%s, %s: a stream, %s", name, query, body)
				}
				continue
			}
			e := s.stream(c.h, "")
			if got := e.next(); !strings.HasPrefix(got, "offer ") {
				t.Errorf("%s: the stream has %q", name, got)
			}
			all, _ := s.page.List(c.key)
			if _, has, _ := strings.Cut(e.last, "-"); !strings.Contains(has, all[0].ID) {
				t.Errorf("%s: the stream's offers are %s", name, e.last)
			}
			e.stop()
		}
	}
}

// TestOffersLast: what a page says that it has changes only what it is told.
func TestOffersLast(t *testing.T) {
	s := newPageScene(t)
	id, token := s.visitor("")
	s.offer(id, true, "x")
	s.offer("ann", false, "x")
	await(t, "the offers are read", func() bool { all, _ := s.page.List("u:ann"); return len(all) == 1 })
	for last, want := range map[string][]string{
		"":                                  {"offer 1"},
		"junk":                              {"offer 1"},
		"-1-1-" + offerID(1):                {"offer 1"},
		"0-0-":                              {"offer 1"},
		"1-0-" + offerID(1):                 nil,
		"1-0-" + offerID(2):                 {"gone 2 ended", "offer 1"},
		"1-0-" + offerID(1) + ".<script>.":  nil,
		"1-0-" + strings.Repeat("x", 1<<13): {"offer 1"},
	} {
		e := s.stream(byToken(token), last)
		e.want(want...)
		n := s.offer(id, true, "y")
		s.awaitOpen("a:"+id, n)
		e.stop()
		s.record(`{"type":"redeemed","offer":%q}`, n)
		await(t, "it is redeemed", func() bool { all, _ := s.page.List("a:" + id); return len(all) == 1 })
	}
}

// TestVisitorRenews: a token renews its own id, also after it has expired, but not for ever.
func TestVisitorRenews(t *testing.T) {
	s := newPageScene(t)
	id, token := s.visitor("")
	log := s.g.opt.Log.(*fakeLog)
	for set, most := range map[time.Duration]time.Duration{
		campaign.DefaultForgetAnonymous: 90 * 24 * time.Hour, 30 * 24 * time.Hour: 30 * 24 * time.Hour, time.Second: time.Second, 1000 * 24 * time.Hour: page.MostForget,
	} {
		log.mu.Lock()
		log.forget = set
		log.mu.Unlock()
		for age, same := range map[time.Duration]bool{0: true, most: true, most + page.TokenLife - time.Minute: true, most + page.TokenLife + time.Minute: false, most + 24*time.Hour: false} {
			old, _ := s.keys.Token(id, time.Now().Add(-age))
			if got, _ := s.visitor(old); (got == id) != same {
				t.Errorf("forgotten after %v, and %v after it was issued: the same id is %v", set, age, got == id)
			}
		}
		r, w := httptest.NewRequest("POST", "https://shop.example/v1/visitor", nil), httptest.NewRecorder()
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		s.g.ServeHTTP(w, r)
		if cookies := w.Result().Cookies(); len(cookies) != 1 || cookies[0].MaxAge != int((most+page.TokenLife)/time.Second) {
			t.Errorf("forgotten after %v: the cookies are %v", set, cookies)
		}
	}
	if got, _ := s.visitor(token + "x"); got == id {
		t.Error("a wrong token renews an id")
	}
	if got, _ := s.visitor(token, "?new"); got == id {
		t.Error("who asks for a new id gets his own")
	}
	for site, want := range map[string]bool{"same-origin": true, "same-site": true, "cross-site": false, "none": false, "": false} {
		r := httptest.NewRequest("POST", "https://shop.example/v1/visitor", nil)
		r.Header.Set("Sec-Fetch-Site", site)
		r.Header.Set("Origin", "https://other.example")
		w := httptest.NewRecorder()
		s.g.ServeHTTP(w, r)
		set := w.Header().Get("Set-Cookie")
		if (set != "") != want || strings.Contains(w.Body.String(), `"cookie":true`) != (site == "same-origin") {
			t.Errorf("%s: %q %s", site, set, w.Body)
		}
		for _, part := range []string{"HttpOnly", "Secure", "SameSite=Lax"} {
			if want && !strings.Contains(set, part) {
				t.Errorf("%s lacks %s", set, part)
			}
		}
		if !want {
			continue
		}
		again := httptest.NewRequest("POST", "https://shop.example/v1/visitor", nil)
		again.Header.Set("Sec-Fetch-Site", site)
		again.Header.Set("Cookie", strings.Split(set, ";")[0])
		w2 := httptest.NewRecorder()
		s.g.ServeHTTP(w2, again)
		if first, second := idIn(t, w.Body.String()), idIn(t, w2.Body.String()); first != second {
			t.Errorf("by its cookie %s becomes %s", first, second)
		}
	}
}

func idIn(t *testing.T, body string) string {
	t.Helper()
	var of struct{ ID string }
	if err := json.Unmarshal([]byte(body), &of); err != nil {
		t.Fatal(err)
	}
	return of.ID
}

// TestVisitorClaims: a visitor whose id a gateway has issued becomes a user by an event of a
// browser only with his token, wherever that stands; the token is never stored.
func TestVisitorClaims(t *testing.T) {
	s := newPageScene(t)
	id, token := s.visitor("")
	id2, token2 := s.visitor("")
	expired, _ := s.keys.Token(id, time.Now().Add(-time.Hour))
	user := UserToken([]byte(testSecret), "ann", time.Now().Add(time.Hour))
	n := 0
	for name, c := range map[string]struct {
		visitor string // the id that is claimed
		at      string // where the visitor's token is
		token   string
		key     string
		user    string
		claims  bool
	}{
		"no token":                 {visitor: id, key: "web", user: user},
		"the visitor's alone":      {visitor: id, key: "web", at: "event", token: token},
		"in the event":             {visitor: id, key: "web", user: user, at: "event", token: token, claims: true},
		"in the context":           {visitor: id, key: "web", user: user, at: "context", token: token, claims: true},
		"in the properties":        {visitor: id, key: "web", user: user, at: "properties", token: token, claims: true},
		"in the header":            {visitor: id, key: "web", user: user, at: "header", token: token, claims: true},
		"in the batch":             {visitor: id, key: "web", user: user, at: "batch", token: token, claims: true},
		"in the batch's context":   {visitor: id, key: "web", user: user, at: "batch context", token: token, claims: true},
		"another visitor's":        {visitor: id, key: "web", user: user, at: "event", token: token2},
		"another visitor's, right": {visitor: id2, key: "web", user: user, at: "event", token: token2, claims: true},
		"expired":                  {visitor: id, key: "web", user: user, at: "event", token: expired},
		"an SDK's id":              {visitor: "sdk-1", key: "web", user: user, claims: true},
		"like an issued one":       {visitor: id[:len(id)-1] + "0", key: "web", user: user, claims: true},
		"a server's":               {visitor: id, key: testKey, claims: true},
	} {
		for _, typ := range []string{"identify", "alias"} {
			n++
			log := s.g.opt.Log.(*fakeLog)
			before := len(log.all())
			field := map[string]string{"identify": "anonymousId", "alias": "previousId"}[typ]
			e := map[string]any{"type": typ, "userId": "ann", field: c.visitor, "messageId": fmt.Sprint(n), "proof": "none"}
			body := map[string]any{"batch": []any{e}, "userToken": c.user}
			header := http.Header{}
			switch c.at {
			case "event":
				e["visitorToken"] = c.token
			case "context", "properties":
				e[c.at] = map[string]any{"visitorToken": c.token, "a": 1, "userToken": c.user}
			case "header":
				header.Set(headerVisitor, c.token)
			case "batch":
				body["visitorToken"] = c.token
			case "batch context":
				body["context"] = map[string]any{"visitorToken": c.token, "userToken": c.user}
			}
			text, _ := json.Marshal(body)
			w := post(s.g, "/v1/batch", string(text), func(r *http.Request) {
				r.Header = header
				r.SetBasicAuth(c.key, "")
			})
			all := log.all()
			if w.Code != 200 || len(all) != before+1 {
				t.Fatalf("%s: %d %s, %d stored", name, w.Code, w.Body, len(all)-before)
			}
			stored := all[before]
			ev, err := new(event.Decoder).DecodeAs([]byte(stored), 0)
			if err != nil {
				t.Fatal(err)
			}
			if visitor, ok := ev.Claims(); ok != c.claims || ok && visitor != c.visitor {
				t.Errorf("%s, %s: claims %q, %v: %s", name, typ, visitor, ok, stored)
			}
			if strings.Contains(stored, "oken") {
				t.Errorf("%s, %s: a token is stored: %s", name, typ, stored)
			}
		}
	}
}

// TestOffersDrain: a gateway that is told to stop tells its streams to come again, and ends
// although they were open.
func TestOffersDrain(t *testing.T) {
	s := newPageScene(t)
	id, token := s.visitor("")
	api := listen(t)
	ctx, term := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.g.Run(ctx, api) }()
	s.url = "http://" + api.Addr().String()
	e := s.stream(byToken(token), "")
	s.offer(id, true, "x")
	e.want("offer 1")
	term()
	e.want("again  restart", "")
	select {
	case err := <-ran:
		if err != nil {
			t.Error(err)
		}
	case <-limitedTest(t).Done():
		t.Fatal("the gateway does not end")
	}
}

// TestVisitorRate: one address gets so many ids in a minute; a proxy's own is not limited.
func TestVisitorRate(t *testing.T) {
	s := newPageScene(t)
	s.g.opt.AddressRate = 1
	issue := func(addr string) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest("POST", "/v1/visitor", nil), httptest.NewRecorder()
		r.RemoteAddr = addr + ":1"
		s.g.ServeHTTP(w, r)
		return w
	}
	n := 0
	for ; n < 1000 && issue("203.0.113.7").Code == 200; n++ {
	}
	w := issue("203.0.113.7")
	if n < 60 || n > 200 || w.Code != 429 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "address_rate") {
		t.Errorf("after %d: %d %s", n, w.Code, w.Body)
	}
	if other, proxy := issue("203.0.113.8").Code, issue("127.0.0.1").Code; other != 200 || proxy != 200 {
		t.Errorf("another address %d, a proxy %d", other, proxy)
	}
}
