package deploy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
	"offerstream/pipeline/event"
	"offerstream/pipeline/ingest"
)

// A tool runs programs of sdks, once it has installed what they need.
type tool struct {
	needs   string // the program without which the test is skipped
	install []string
	run     []string
}

var npm = []string{"npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"}

var tools = map[string]tool{
	"node":   {needs: "node", install: npm, run: []string{"node"}},
	"python": {needs: "python3", install: []string{"python3", "-m", "pip", "install", "--quiet", "--target", ".", "-r", "requirements.txt"}, run: []string{"python3"}},
	"page":   {needs: "chromium", install: npm},
	"java":   {needs: "java", install: []string{"mvn", "--quiet", "--file", "java", "compile", "dependency:copy-dependencies", "-DoutputDirectory=target/lib"}, run: []string{"java", "-cp", "java/target/classes:java/target/lib/*"}},
	"go":     {needs: "go", install: []string{"go", "build", "-C", "go", "-o", "../sdks", "."}, run: []string{"./sdks"}},
}

// An sdk is a program that plays the scene with an SDK, and what the SDK does not pass on.
type sdk struct {
	tool, program string
	lacks         string // kinds of events, separated by spaces
	always        bool   // not only with SDKS=all
	nulls         bool   // it drops members that are null
	loses         bool   // it does not send again what has failed, so the gateway stays
	claims        bool   // it passes a user token on with identify and alias too
}

var sdks = []sdk{
	{tool: "node", program: "segment-node.mjs", always: true, claims: true},
	{tool: "node", program: "rudder-node.mjs", claims: true},
	{tool: "node", program: "posthog-node.mjs", always: true},
	{tool: "node", program: "jitsu-node.mjs", lacks: "alias visitor", always: true, loses: true},
	{tool: "node", program: "cloudevents.mjs", lacks: "identify page group alias", always: true},
	{tool: "page", program: "segment-page.mjs", always: true, claims: true},
	{tool: "page", program: "rudder-page.mjs", nulls: true, claims: true},
	{tool: "page", program: "posthog-page.mjs", claims: true},
	{tool: "page", program: "jitsu-page.mjs", lacks: "alias", loses: true},
	{tool: "python", program: "segment-python.py", claims: true},
	{tool: "java", program: "Segment", nulls: true, claims: true},
	{tool: "go", program: "segment", claims: true},
	{tool: "go", program: "rudder", claims: true},
}

const (
	sdkKey    = "cSDKs0123456789012345678k" // a key of 25 characters, as Jitsu wants it
	sdkSecret = "0123456789abcdef"          // of its user tokens
)

func sdkToken() string {
	return ingest.UserToken([]byte(sdkSecret), "ann", time.Now().Add(time.Hour))
}

// TestSDKs lets SDKs as their vendors publish them play a scene against a gateway that goes
// away for three seconds: nothing is lost or doubled, and times and values are right.
func TestSDKs(t *testing.T) {
	if testing.Short() {
		t.Skip("it installs SDKs")
	}
	all, dirs := t.TempDir(), map[string]string{} // by what installs what they need
	for _, name := range slices.Sorted(maps.Keys(tools)) {
		tool := tools[name]
		t.Run(name, func(t *testing.T) {
			var those []sdk
			for _, s := range sdks {
				if s.tool == name && (s.always || os.Getenv("SDKS") == "all") {
					those = append(those, s)
				}
			}
			if len(those) == 0 {
				t.Skip("SDKS=all runs these SDKs")
			}
			if _, err := exec.LookPath(tool.needs); err != nil {
				t.Skipf("there is no %s, which runs these SDKs", tool.needs)
			}
			dir := dirs[tool.install[0]]
			if dir == "" {
				dir = filepath.Join(all, tool.install[0])
				tool.installIn(t, dir)
				dirs[tool.install[0]] = dir
			}
			for _, s := range those {
				t.Run(s.program, func(t *testing.T) {
					t.Parallel()
					s.play(t, dir)
				})
			}
		})
	}
}

// installIn makes a directory with the programs and the SDKs that they need.
func (c tool) installIn(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath(c.install[0]); err != nil {
		t.Skipf("there is no %s, which installs these SDKs", c.install[0])
	}
	if err := os.CopyFS(dir, os.DirFS("sdks")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), c.install[0], c.install[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("the SDKs cannot be installed: %v\n%s", err, out)
	}
}

// A restarting gateway can be away for a while.
type restarting struct {
	t    *testing.T
	conn *broker.Conn
	addr string
	stop func()
}

func (r *restarting) start() {
	r.t.Helper()
	var l net.Listener
	var err error
	for end := time.Now().Add(10 * time.Second); ; {
		if l, err = net.Listen("tcp", r.addr); err == nil || time.Now().After(end) {
			break
		}
	}
	var log *broker.GatewayLog
	if err == nil {
		r.addr = l.Addr().String()
		log, err = r.conn.OpenGatewayLog(r.t.Context())
	}
	var g *ingest.Gateway
	if err == nil {
		key := config.KeyOf("sdk", sdkKey, event.Browser)
		key.Secret = []byte(sdkSecret)
		g, err = ingest.New(ingest.Options{Log: log, Keys: []config.Key{key}, Logger: slog.New(slog.DiscardHandler)})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, l) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
}

func (s sdk) play(t *testing.T, dir string) {
	ns, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Port: -1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Shutdown()
	conn, err := broker.Connect(t.Context(), broker.Options{URL: ns.ClientURL(), Client: "sdks", Partitions: 3, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	g := &restarting{t: t, conn: conn, addr: "127.0.0.1:0"}
	g.start()
	defer func() { g.stop() }()

	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	away := func() {
		if !s.loses {
			g.stop()
			<-time.After(3 * time.Second) // so long is it away
			g.start()
		}
	}
	if s.tool == "page" {
		s.look(ctx, t, dir, "http://"+g.addr, away, func() bool { return len(hear(t, conn, s, began).differs(s)) == 0 })
	} else {
		s.run(ctx, t, dir, "http://"+g.addr, away)
	}
	got := hear(t, conn, s, began)
	got.check(s)
	if letters := dead(t, conn); len(letters) > 0 {
		t.Errorf("%d dead letters: %s", len(letters), letters[0])
	}
	t.Logf("%d events, %d of them sent again", got.n, got.again)
}

// run runs the program to its end.
func (s sdk) run(ctx context.Context, t *testing.T, dir, url string, away func()) {
	run := append(slices.Clone(tools[s.tool].run), s.program, url, sdkKey, sdkToken())
	cmd := exec.CommandContext(ctx, run[0], run[1:]...)
	cmd.Dir = dir
	var said lines
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(out); in.Scan(); {
		if in.Text() == "restart" {
			away()
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
}

// look opens the page in a browser, from another origin than the gateway's, until it has
// played the scene.
func (s sdk) look(ctx context.Context, t *testing.T, dir, to string, away func(), all func() bool) {
	restart, done := make(chan bool, 1), make(chan bool, 1)
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(dir)))
	mux.HandleFunc("POST /restart", func(http.ResponseWriter, *http.Request) { restart <- true })
	mux.HandleFunc("POST /done", func(http.ResponseWriter, *http.Request) { done <- true })
	shop := httptest.NewServer(mux)
	defer shop.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	page := shop.URL + "/page.html?" + url.Values{"module": {"./" + s.program}, "to": {to, sdkKey, sdkToken()}}.Encode()
	var said lines
	cmd := exec.CommandContext(ctx, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(),
		"--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36", "--enable-logging=stderr", "--remote-debugging-port=0", page)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); cmd.Wait() }()
	wait := func(what string, c chan bool) {
		select {
		case <-c:
		case <-ctx.Done():
			t.Fatalf("the page's scene does not %s: %s", what, &said)
		}
	}
	wait("begin", restart)
	away()
	wait("end", done)
	for end := time.Now().Add(30 * time.Second); !all() && time.Now().Before(end); { // what it sends later
		<-time.After(100 * time.Millisecond)
	}
}

// dead returns the dead letters.
func dead(t *testing.T, conn *broker.Conn) (all []string) {
	t.Helper()
	st, err := conn.JS.Stream(t.Context(), conn.Names.DeadStream())
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= st.CachedInfo().State.LastSeq; seq++ {
		m, err := st.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(m.Data))
	}
	return all
}

// hear reads what the log has.
func hear(t *testing.T, conn *broker.Conn, s sdk, began time.Time) *heard {
	t.Helper()
	h := &heard{t: t, page: s.tool == "page", began: began, ids: map[string]map[string]bool{}, kinds: map[string]int{}}
	for p := range conn.Partitions {
		if err := conn.ScanLog(t.Context(), p, 0, h.read); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// heard is what the log has.
type heard struct {
	t     *testing.T
	began time.Time
	n     int
	page  bool                       // the SDK is one of a page
	again int                        // events that are there more than once, under one id
	ids   map[string]map[string]bool // by what the event is: its ids
	kinds map[string]int
	odd   any
}

func (h *heard) read(m pipeline.Message) error {
	if m.Kind != pipeline.In {
		return nil
	}
	for line := range strings.SplitSeq(strings.TrimSpace(string(m.Data)), "\n") {
		var d event.Decoder
		ev, err := d.DecodeAs([]byte(line), 0)
		if err != nil {
			h.t.Errorf("stored %s: %v", line, err)
			continue
		}
		var of struct {
			Properties map[string]any
			Traits     map[string]any
		}
		if err := json.Unmarshal([]byte(line), &of); err != nil {
			h.t.Errorf("stored %s: %v", line, err)
		}
		what := ev.Type.String()
		if ev.Type == event.Track {
			what = ev.Name
		}
		if ev.Name == "Burst" || ev.Name == "Restart" {
			what += fmt.Sprint(" ", of.Properties["i"])
		}
		if h.ids[what] == nil {
			h.ids[what] = map[string]bool{}
		}
		if h.ids[what][ev.ID] {
			h.again++
			continue
		}
		h.ids[what][ev.ID] = true
		h.n++
		h.kinds[what]++
		if ev.Name == "Odd" {
			h.odd = of.Properties
		}
		if visitor, ok := ev.Claims(); ok {
			if h.page && ev.Type == event.Identify {
				visitor = "visitor" // its id is the SDK's choice
			}
			h.kinds["claim of "+visitor]++
		}
		if strings.Contains(line, "userToken") {
			h.t.Errorf("the token is stored: %s", line)
		}
		if ev.Name == "Consent Granted" && ev.NoProof {
			h.t.Errorf("it is stored without proof: %s", line)
		}
		if ev.Type == event.Identify && of.Traits["city"] != "Seoul" {
			h.t.Errorf("identify has no traits: %s", line)
		}
		at := ev.ReceivedAt
		if ev.HasTimestamp {
			if at = ev.Timestamp; ev.HasSentAt && !ev.SentAtOriginal {
				at += ev.ReceivedAt - ev.SentAt
			}
		}
		if off := min(at-h.began.UnixNano(), time.Now().UnixNano()-at); off < -int64(2*time.Second) {
			h.t.Errorf("an event's time is off by %v: %s", time.Duration(-off), line)
		}
	}
	return nil
}

// differs compares the events with the scene (sdks/scene.mjs).
func (h *heard) differs(s sdk) (diff []string) {
	want := map[string]int{"identify": 1, "page": 1, "group": 1, "alias": 1, "Consent Granted": 1, "Odd": 1}
	if s.claims {
		want["claim of visitor"], want["claim of visitor-2"] = 1, 1
	}
	claims := map[string]string{"identify": "visitor", "visitor": "visitor", "alias": "visitor-2"}
	for _, kind := range strings.Fields(s.lacks) {
		delete(want, kind)
		delete(want, "claim of "+claims[kind])
	}
	for i := range map[bool]int{true: 60, false: 1000}[s.tool == "page"] {
		want[fmt.Sprint("Burst ", i)] = 1
	}
	for i := range 50 {
		want[fmt.Sprint("Restart ", i)] = 1
	}
	for _, what := range slices.Sorted(maps.Keys(want)) {
		if h.kinds[what] != want[what] {
			diff = append(diff, fmt.Sprintf("%s: %d, want %d", what, h.kinds[what], want[what]))
		}
	}
	for what, n := range h.kinds {
		if want[what] == 0 {
			diff = append(diff, fmt.Sprintf("%s: %d, want none", what, n))
		}
	}
	return diff
}

// check compares with the scene, and fails the test if anything differs.
func (h *heard) check(s sdk) {
	h.t.Helper()
	if diff := h.differs(s); len(diff) > 0 {
		h.t.Errorf("%d events differ, the first: %s", len(diff), strings.Join(diff[:min(len(diff), 5)], "; "))
	}
	wantOdd := map[string]any{
		"text": "é \"quoted\" \\ \u2028 😀", "empty": "", "nothing": nil, "yes": true, "big": 1e21, "small": .1,
		"list": []any{1., "a", map[string]any{"b": nil}}, "deep": map[string]any{"a": map[string]any{"b": map[string]any{"c": []any{}}}}, "a key.with dots": 1.,
	}
	if s.nulls {
		delete(wantOdd, "nothing")
		wantOdd["list"] = []any{1., "a", map[string]any{}}
	}
	odd, _ := h.odd.(map[string]any)
	for k, v := range wantOdd {
		if got, ok := odd[k]; !ok || !reflect.DeepEqual(got, v) {
			h.t.Errorf("of the odd values %q is %v, want %v", k, got, v)
		}
	}
}
