package page

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// within is the longest that a test waits.
const within = 2 * time.Minute

// newReady returns a page whose board is complete, without NATS, and a server that streams
// to who says in the header X-Key who he is.
func newReady(t *testing.T, reader func(*http.Request) Reader, server func(*httptest.Server), change ...func(*Options)) (*Page, string) {
	t.Helper()
	o := Options{Keys: NewKeys([][]byte{keyA}), Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&o)
	}
	p := New(o)
	p.ready = true
	if reader == nil {
		reader = func(r *http.Request) Reader {
			return Reader{Key: r.Header.Get("X-Key"), Expires: time.Now().Add(time.Hour)}
		}
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.Serve(w, r, reader(r)); err != nil {
			http.Error(w, err.Error(), http.StatusTooManyRequests)
		}
	}))
	if server != nil {
		server(srv)
	}
	if srv.URL == "" {
		srv.Start()
	}
	t.Cleanup(func() { p.Close(); srv.CloseClientConnections(); srv.Close() })
	return p, srv.URL
}

// put puts an offer of n bytes onto the board.
func put(p *Page, key string, seq uint64, n int) {
	o := &pipeline.Offer{ID: fmt.Sprintf("%032x", seq), Campaign: fmt.Sprint(seq), Channel: "web", User: strings.TrimPrefix(key, "u:"), Data: []byte(`"` + strings.Repeat("x", n) + `"`)}
	body, _ := o.AppendJSON(nil)
	p.apply(broker.Stored{Seq: seq, Time: time.Now().UnixNano(), Data: body}, true)
}

func open1(t *testing.T, c *http.Client, url, key string) (*http.Response, *bufio.Scanner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	r, _ := http.NewRequestWithContext(ctx, "GET", url, nil)
	r.Header.Set("X-Key", key)
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	return resp, in
}

// until reads until a line begins with a text, and returns that line.
func until(t *testing.T, in *bufio.Scanner, begin string) string {
	t.Helper()
	for in.Scan() {
		if strings.HasPrefix(in.Text(), begin) {
			return in.Text()
		}
	}
	t.Fatalf("the stream ends without %q: %v", begin, in.Err())
	return ""
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.After(within)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("awaited in vain: %s", what)
		}
	}
}

func (p *Page) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.streams
}

// TestStreamOutlivesTimeouts: the server's timeouts, which are for requests, do not end a
// stream, over HTTP/1.1 and HTTP/2.
func TestStreamOutlivesTimeouts(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		var srv *httptest.Server
		p, url := newReady(t, nil, func(s *httptest.Server) {
			srv = s
			s.Config.ReadTimeout, s.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
			if proto == "HTTP/2.0" {
				s.EnableHTTP2 = true
				s.StartTLS()
			}
		}, func(o *Options) { o.Heartbeat = 20 * time.Millisecond })
		resp, in := open1(t, srv.Client(), url, "u:a")
		if resp.Proto != proto || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %v, want %s", resp.Proto, resp.Header, proto)
		}
		for range 20 {
			until(t, in, ":") // a heartbeat
		}
		put(p, "u:a", 1, 10)
		until(t, in, "event: offer")
		p.Close()
		until(t, in, "event: again")
		for in.Scan() {
		}
		if in.Err() != nil {
			t.Errorf("%s: the stream does not end well: %v", proto, in.Err())
		}
		await(t, "no stream is left", func() bool { return p.open() == 0 })
	}
}

// TestStreamSlow: a page that reads nothing holds no other up, and its stream ends.
func TestStreamSlow(t *testing.T) {
	p, url := newReady(t, nil, nil, func(o *Options) { o.WriteFor = 100 * time.Millisecond; o.Limits = Limits{1000, 1000, 1 << 30, 10} })
	slow, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "GET / HTTP/1.1\r\nHost: x\r\nX-Key: u:a\r\n\r\n")
	await(t, "the slow stream", func() bool { return p.open() == 1 })
	_, in := open1(t, http.DefaultClient, url, "u:a")
	await(t, "both streams", func() bool { return p.open() == 2 })
	const n = 300
	for i := range uint64(n) { // 30 MB: more than the kernel's buffers take
		put(p, "u:a", i+1, 100_000)
		until(t, in, fmt.Sprintf(`data: {"id":"%032x"`, i+1))
	}
	await(t, "the slow stream has ended", func() bool { return p.open() == 1 })
	slow.SetReadDeadline(time.Now().Add(within))
	if got, err := io.ReadAll(slow); len(got) > n*100_000/2 || strings.Contains(string(got), fmt.Sprintf("%032x", n)) {
		t.Errorf("the slow page was sent %d bytes, %v", len(got), err)
	}
}

// TestStreamGone: a page that closes its connection frees its stream at once.
func TestStreamGone(t *testing.T) {
	p, url := newReady(t, nil, nil)
	resp, _ := open1(t, &http.Client{Transport: &http.Transport{}}, url, "u:a")
	await(t, "the stream", func() bool { return p.open() == 1 })
	resp.Body.Close()
	await(t, "the stream has ended", func() bool { return p.open() == 0 })
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.watching) != 0 || len(p.from) != 0 {
		t.Errorf("left: %v %v", p.watching, p.from)
	}
}

// TestStreamLimits: of one user, of one address, in all.
func TestStreamLimits(t *testing.T) {
	p, url := newReady(t, func(r *http.Request) Reader {
		return Reader{Key: r.Header.Get("X-Key"), From: r.Header.Get("X-Key")[2:3], Expires: time.Now().Add(time.Hour)}
	}, nil, func(o *Options) { o.EachID, o.EachAddress, o.Streams = 2, 3, 4 })
	for _, want := range []struct{ key, limit string }{
		{"u:a", ""}, {"u:a", ""}, {"u:a", "this user or visitor"}, {"u:ab", ""}, {"u:ac", "this address"}, {"u:b", ""}, {"u:c", "this gateway"},
	} {
		resp, _ := open1(t, http.DefaultClient, url, want.key)
		if want.limit == "" && resp.StatusCode == 200 {
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 429 || want.limit == "" || !strings.Contains(string(body), want.limit) {
			t.Errorf("%s: %d %s, want %q", want.key, resp.StatusCode, body, want.limit)
		}
	}
	if p.open() != 4 {
		t.Errorf("%d streams", p.open())
	}
}

// TestStreamTokens: a visitor's token is renewed in his stream; a user's stream ends with
// his token.
func TestStreamTokens(t *testing.T) {
	keys := NewKeys([][]byte{keyA})
	id := keys.NewID()
	_, url := newReady(t, func(r *http.Request) Reader {
		if r.Header.Get("X-Key") == "visitor" {
			return Reader{Key: "a:" + id, Visitor: id, Expires: time.Now().Add(time.Minute)}
		}
		return Reader{Key: "u:a", Expires: time.Now().Add(50 * time.Millisecond)}
	}, nil)
	_, in := open1(t, http.DefaultClient, url, "visitor")
	until(t, in, "event: token")
	_, token, _ := strings.Cut(until(t, in, "data: "), `"token":"`)
	token, _, _ = strings.Cut(token, `"`)
	if !keys.Proves(token, id, time.Now().Add(TokenLife-time.Minute)) {
		t.Errorf("the next token is %q", token)
	}
	_, in = open1(t, http.DefaultClient, url, "user")
	until(t, in, "event: again")
	if got := until(t, in, "data: "); got != `data: {"reason":"token"}` {
		t.Errorf("the user's stream ends with %s", got)
	}
}

// TestStreamBehind: a gateway that has read less than the one from which a page comes reads
// on before it answers.
func TestStreamBehind(t *testing.T) {
	p, url := newReady(t, nil, nil)
	put(p, "u:a", 5, 1)
	r, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	r.Header.Set("X-Key", "u:a")
	r.Header.Set("Last-Event-ID", fmt.Sprintf("7-3-%032x.%032x", 5, 7))
	lines := make(chan string, 10)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			lines <- err.Error()
			return
		}
		defer resp.Body.Close()
		for in := bufio.NewScanner(resp.Body); in.Scan(); {
			if strings.HasPrefix(in.Text(), "data: ") {
				lines <- in.Text()
			}
		}
	}()
	await(t, "it waits", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.waiting == 1 })
	put(p, "u:a", 7, 1)
	await(t, "it waits still", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.waiting == 1 })
	p.apply(broker.Stored{Seq: 3, Data: []byte(`{"type":"later"}`)}, false)
	await(t, "the stream", func() bool { return p.open() == 1 })
	put(p, "u:a", 8, 1)
	if got := <-lines; !strings.Contains(got, fmt.Sprintf("%032x", 8)) {
		t.Errorf("the page is told %s", got)
	}
}
