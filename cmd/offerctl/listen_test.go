package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// A listener is a running `offerctl listen`.
type listener struct {
	t         *testing.T
	out, said *heard
	interrupt context.CancelFunc
	code      chan int
}

// startListen returns when the gateway is told.
func startListen(t *testing.T, url string, args ...string) *listener {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	l := &listener{t: t, out: &heard{came: make(chan struct{}, 1)}, said: &heard{came: make(chan struct{}, 1)}, interrupt: interrupt, code: make(chan int, 1)}
	go func() {
		l.code <- run(ctx, append([]string{"listen", "--nats", url}, args...), stdio{strings.NewReader(""), l.out, l.said})
	}()
	l.said.await(t, "listening to gateway ")
	return l
}

// end waits for texts, ends it as Ctrl-C does, and returns what it has printed, without the
// times.
func (l *listener) end(texts ...string) string {
	l.t.Helper()
	for _, text := range texts {
		l.out.await(l.t, text)
	}
	l.interrupt()
	if code := <-l.code; code != 0 {
		l.t.Errorf("exit %d: %s", code, l.said.text.String())
	}
	return regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d\d\d  `).ReplaceAllString(l.out.text.String(), "")
}

// TestListen listens to a running deployment: to all, with each filter, masked and as
// JSON.
func TestListen(t *testing.T) {
	t.Parallel()
	def, err := config.LoadCampaigns(writeFile(t, "c.yaml", `version: 1
policies: {consent: none, quiet_hours: none}
campaigns:
  view:
    on: Product Viewed
    offer: {channel: web, kind: service, data: {of: "{{ event.properties.product_id }}"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	log := &heard{came: make(chan struct{}, 1)}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", addr: "127.0.0.1:0", writeKey: "KEY", partitions: 2, set: def, log: slog.New(slog.NewTextHandler(log, nil)),
		keysFile: file(t, "keys.yaml", "- {name: orders, key: ORDERS, roles: [server]}\n")})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	url := n.natsURL()
	all, json1, masked, maskedJSON := startListen(t, url), startListen(t, url, "--json"), startListen(t, url, "--mask"), startListen(t, url, "--mask", "--json")
	ada, viewed, orders := startListen(t, url, "--user", "ada-9"), startListen(t, url, "--event", "Product Viewed"), startListen(t, url, "--key", "orders")

	send := func(key, path, body string, want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(key, "")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
			t.Fatalf("%s: %s: %s", body, resp.Status, answer)
		}
	}
	send("KEY", "/v1/track", `{"event":"Product Viewed","userId":"ada-9","messageId":"ada-9 1","properties":{"product_id":"bag-1","of":"ada-9"}}`, 200)
	send("KEY", "/v1/batch", batchOf(`{"type":"page","name":"Home","anonymousId":"bob-7","messageId":"bob-7 2"}`, `{"type":"page","name":"\u001b[31mHome","messageId":"x 3"}`, `{"type":"track","event":"Coupon Redeemed","userId":"ada-9","messageId":"ada-9 4"}`), 200)
	send("KEY", "/v1/track", `{"event":"Product Viewed","messageId":"x 5"}`, 400)
	send("KEY", "/v1/track", `{"event":"Coupon Redeemed","userId":"ada-9","messageId":"ada-9 6"}`, 403)
	send("WRONG", "/v1/track", `{"event":"Product Viewed","userId":"ada-9"}`, 401)
	send("KEY", "/v1/ada-9", `{}`, 404)
	send("ORDERS", "/v1/track", `{"event":"Order Completed","userId":"ada-9","messageId":"ada-9 7"}`, 200)

	text := all.end("Order Completed", "\n", "offer     view")
	rest := sorted(text)
	want := sorted(`accepted  write key 1  track     Product Viewed    u:ada-9   ada-9 1  {"product_id":"bag-1","of":"ada-9"}
accepted  write key 1  page      Home              a:bob-7   bob-7 2
refused   write key 1  page      ` + "\uFFFD" + `[31mHome        -         x 3  identity: the event has neither userId nor anonymousId
denied    write key 1  track     Coupon Redeemed   u:ada-9   ada-9 4  role: Coupon Redeemed needs a key of role server; this key has the role browser
refused   write key 1  track     Product Viewed    -         x 5  identity: the event has neither userId nor anonymousId
denied    write key 1  track     Coupon Redeemed   u:ada-9   ada-9 6  role: Coupon Redeemed needs a key of role server; this key has the role browser
refused   -            -         /v1/track         -  key: there is no key, or it is not one of this gateway's
refused   -            -         /v1/ada-9         -  path: no such path
accepted  orders       track     Order Completed   u:ada-9   ada-9 7
offer     view         web       -                 u:ada-9   ada-9 1
3 accepted, 4 refused, 2 denied, 0 failed, 1 offer
`)
	if !slices.Equal(rest, want) {
		t.Errorf("listen prints\n%s\nwant\n%s", strings.Join(rest, "\n"), strings.Join(want, "\n"))
	}
	if !strings.HasSuffix(text, "\n3 accepted, 4 refused, 2 denied, 0 failed, 1 offer\n") {
		t.Errorf("the totals are not at the end:\n%s", text)
	}
	t.Log(all.out.text.String())

	text = json1.end("Order Completed", `"campaign":"view"`)
	counts := map[string]int{}
	for line := range strings.Lines(text) {
		var l struct {
			broker.Notice
			Campaign string
			Totals   map[string]int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		counts[l.Outcome]++
		if l.Outcome == "refused" && l.Reason == "key" && (l.Status != 401 || l.Gateway == "" || l.At == "" || l.Path != "/v1/track") {
			t.Errorf("%s", line)
		}
		if l.Totals != nil && l.Totals["accepted"] != 3 {
			t.Errorf("%s", line)
		}
	}
	if counts["accepted"] != 3 || counts["refused"] != 4 || counts["denied"] != 2 || counts["offer"] != 1 || counts[""] != 1 {
		t.Errorf("%v\n%s", counts, text)
	}

	for _, l := range []*listener{masked, maskedJSON} {
		text = l.end("Order Completed", "offer", "view")
		if strings.Contains(text, "ada-9") || strings.Contains(text, "bob-7") || strings.Contains(text, "bag-1") || !strings.Contains(text, "Product Viewed") || !strings.Contains(text, "role") {
			t.Errorf("masked:\n%s", text)
		}
		if who := regexp.MustCompile(`(?:u:|"user_id":")(~[0-9a-f]{6})\b`).FindAllStringSubmatch(text, -1); len(who) != 5 || slices.ContainsFunc(who, func(m []string) bool { return m[1] != who[0][1] }) {
			t.Errorf("masked, ada is %q:\n%s", who, text)
		}
	}
	for l, want := range map[*listener]string{
		ada:    "2 accepted, 0 refused, 2 denied, 0 failed, 1 offer\n",
		viewed: "1 accepted, 1 refused, 0 denied, 0 failed, 1 offer\n",
		orders: "1 accepted, 0 refused, 0 denied, 0 failed, 1 offer\n",
	} {
		last := map[*listener]string{ada: "Order Completed", viewed: "x 5", orders: "Order Completed"}[l]
		if text = l.end(last, "offer     view"); !strings.HasSuffix(text, "\n"+want) || strings.Contains(text, "bob-7") {
			t.Errorf("filtered, want %s\n%s", want, text)
		}
	}
	log.await(t, "a listener has gone") // it need not wait for renewals
}

func batchOf(events ...string) string { return `{"batch":[` + strings.Join(events, ",") + `]}` }

// sorted returns the lines of a text in order: offers come when they come. Columns grow, so
// that the number of spaces between them depends on that.
func sorted(text string) []string {
	lines := strings.Split(regexp.MustCompile(` {2,}`).ReplaceAllString(strings.TrimSpace(text), "  "), "\n")
	slices.Sort(lines)
	return lines
}

// TestListenCauses: an offer whose cause is told later is shown then, if the cause is one
// of the events that were asked for; and nothing grows without bounds.
func TestListenCauses(t *testing.T) {
	t.Parallel()
	out := new(strings.Builder)
	l := &listening{std: stdio{out: out}, wish: broker.Wish{Event: "A"}, counts: map[string]int{}, seen: map[string]bool{}}
	offer := func(cause string) {
		l.held = append(l.held, offered{time.Now(), &pipeline.Offer{User: "u", Event: cause}})
		l.release()
	}
	for _, cause := range []string{"1", "2", "1"} {
		offer(cause)
	}
	if out.Len() > 0 {
		t.Errorf("shown before their causes:\n%s", out.String())
	}
	l.notice(&broker.Notice{Outcome: broker.Accepted, Event: "A", ID: "1"})
	l.notice(&broker.Notice{Outcome: broker.Refused, Event: "A", ID: "2"})
	offer("1")
	if text := out.String(); strings.Count(text, "offer ") != 3 || l.counts["offer"] != 3 {
		t.Errorf("%s", text)
	}
	for i := range 2 * causesKept {
		l.saw(string(rune(0x10000 + i)))
		offer("2")
	}
	if len(l.seen) != causesKept || len(l.order) != causesKept || len(l.waiting) != offersKept || !l.seen[string(rune(0x10000+2*causesKept-1))] || l.seen["1"] {
		t.Errorf("it keeps %d causes and %d offers", len(l.seen), len(l.waiting))
	}
}

// TestListenGateways: it says which gateways listen, and which do not any more.
func TestListenGateways(t *testing.T) {
	t.Parallel()
	said := new(strings.Builder)
	l := &listening{std: stdio{err: said}, gateways: map[string]int{}}
	l.asked(true)
	l.asked(false)
	l.answered(broker.Hearing{Gateway: "a/1"})
	l.answered(broker.Hearing{Gateway: "a/1"})
	l.answered(broker.Hearing{Gateway: "b/1", Full: true})
	for range missedMost + 1 {
		l.asked(false)
	}
	var lines []string
	for line := range strings.Lines(said.String()) {
		lines = append(lines, strings.Join(strings.Fields(line)[:4], " "))
	}
	if want := []string{"no gateway answers: none", "listening to gateway a/1", "gateway b/1 has as", "gateway a/1 answers no"}; !slices.Equal(lines, want) {
		t.Errorf("it says %q, want %q", lines, want)
	}
}

func TestListenWrong(t *testing.T) {
	t.Parallel()
	if _, errs := fails(t, 2, "listen", "ada"); !strings.Contains(errs, "unexpected argument") {
		t.Error(errs)
	}
	if _, errs := fails(t, 1, "listen", "--user", "a\nb"); !strings.Contains(errs, "user") {
		t.Error(errs)
	}
}
