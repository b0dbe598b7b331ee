package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/page"
)

// TestPageInBrowser plays testdata/page/scene.js in a page under a strict CSP, from another
// origin than the gateway's.
func TestPageInBrowser(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("this needs the browser chromium in PATH, for example Debian's package chromium")
	}
	s := newPageScene(t)
	html, err := os.ReadFile("testdata/page/shop.html")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", fmt.Sprintf("default-src 'none'; script-src 'self' %s; connect-src 'self' %s; base-uri 'none'; require-trusted-types-for 'script'", s.url, s.url))
		w.Write([]byte(strings.Replace(string(html), "<!-- SCRIPT -->", page.Script.Tag(s.url, "web"), 1)))
	})
	mux.Handle("GET /scene.js", http.FileServer(http.Dir("testdata/page")))
	mux.HandleFunc("POST /do/{what}", func(w http.ResponseWriter, r *http.Request) {
		answer, err := s.act(r, done)
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		json.NewEncoder(w).Encode(answer)
	})
	shop := httptest.NewServer(mux)
	defer shop.Close()
	ctx, cancel := context.WithCancel(limitedTest(t))
	var said strings.Builder
	cmd := exec.CommandContext(ctx, chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(),
		"--enable-logging=stderr", "--remote-debugging-port=0", shop.URL)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait := func() { cancel(); cmd.Wait() }
	select {
	case failed := <-done:
		if wait(); failed != "" {
			t.Errorf("%s\n%s", failed, consoleOf(said.String()))
		}
	case <-ctx.Done():
		wait()
		t.Fatalf("the page does not end\n%s", consoleOf(said.String()))
	}
}

// consoleOf are the lines of the page's console.
func consoleOf(said string) string {
	var lines []string
	for line := range strings.Lines(said) {
		if strings.Contains(line, "CONSOLE") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// act does what the page asks for.
func (s *pageScene) act(r *http.Request, done chan<- string) (any, error) {
	var of struct {
		User, Campaign, Type, Offer, Visitor, Coupon, Failed string
		Anonymous                                            bool
		Seconds                                              int
		Data                                                 json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&of); err != nil {
		return nil, err
	}
	switch r.PathValue("what") {
	case "offer":
		return s.offer(of.User, of.Anonymous, of.Campaign, func(o *pipeline.Offer) {
			o.Data = of.Data
			if of.Coupon != "" {
				o.Coupon = &pipeline.OfferCoupon{Code: of.Coupon}
			}
			if of.Seconds > 0 {
				o.Expires = time.Now().Add(time.Duration(of.Seconds) * time.Second).UTC().Format(time.RFC3339Nano)
			}
		}), nil
	case "record":
		s.record(`{"type":%q,"offer":%q,"visitor":%q,"user":%q}`, of.Type, of.Offer, of.Visitor, of.User)
		return true, nil
	case "events":
		all := []json.RawMessage{}
		for _, log := range s.logs {
			for _, e := range log.all() {
				all = append(all, json.RawMessage(e))
			}
		}
		return all, nil
	case "token":
		return UserToken([]byte(testSecret), of.User, time.Now().Add(time.Hour)), nil
	case "restart":
		s.stop()
		s.record(`{"type":"redeemed","offer":%q}`, of.Offer)
		s.start()
		return true, nil
	case "done":
		done <- of.Failed
		return true, nil
	}
	return nil, errors.New("the page asks for what the test cannot do")
}
