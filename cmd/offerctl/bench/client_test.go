package bench

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
)

// The bench's client sends requests that net/http understands, counts the
// answers, and returns a refusal as an error.
func TestClient(t *testing.T) {
	refuse := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key, _, ok := r.BasicAuth(); !ok || key != writeKey || refuse {
			http.Error(w, "no such key", http.StatusUnauthorized)
			return
		}
		w.Write([]byte("ok"))
	}))
	defer srv.Close()
	c, err := dial(strings.TrimPrefix(srv.URL, "http://"), 4, [][]byte{request("/v1/track", []byte("{}"))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if rate, err := c.closed(t.Context(), 20*time.Millisecond); rate <= 0 || err != nil {
		t.Errorf("closed loop: %f a second, %v", rate, err)
	}
	if took, err := c.open(t.Context(), 1000, 50*time.Millisecond); len(took) != 50 || err != nil {
		t.Errorf("open loop: %d answers, %v", len(took), err)
	}
	c.says = "o"
	if rate, err := c.closed(t.Context(), 20*time.Millisecond); rate <= 0 || err != nil {
		t.Errorf("it says what it must: %f a second, %v", rate, err)
	}
	c.says = "yes"
	if _, err := c.closed(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "200 OK: ok") {
		t.Errorf("it says something else: %v", err)
	}
	refuse, c.says = true, ""
	if _, err := c.closed(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "no such key") {
		t.Errorf("refused: %v", err)
	}
	if _, err := c.open(t.Context(), 1000, time.Minute); err == nil || !strings.Contains(err.Error(), "no such key") {
		t.Errorf("refused in the open loop: %v", err)
	}
}

// The bare handler, with which the gateway is compared, stores each event
// unchanged as a separate message before it answers.
func TestBareHandler(t *testing.T) {
	ns, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Shutdown()
	c, err := broker.Connect(t.Context(), broker.Options{InProcess: ns, Partitions: 2, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h := &bareHandler{conn: c}
	for _, r := range []struct{ path, body string }{
		{"/v1/track", `{"n":0}`},
		{"/v1/batch", `{"batch":[{"n":1},{"n":2},{"n":3}]}`},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, r.path, strings.NewReader(r.body)))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", r.path, w.Code, w.Body)
		}
	}
	var got []string
	for p := range c.Partitions {
		st, err := c.JS.Stream(t.Context(), c.Names.EventsStream(p))
		if err != nil {
			t.Fatal(err)
		}
		for seq := range st.CachedInfo().State.LastSeq {
			m, err := st.GetMsg(t.Context(), seq+1)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(m.Data))
		}
	}
	if want := `{"n":1} {"n":3} {"n":0} {"n":2}`; strings.Join(got, " ") != want {
		t.Errorf("stored %q, want %s", got, want)
	}
}
