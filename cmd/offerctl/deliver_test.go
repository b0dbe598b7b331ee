package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/deliver"
)

// A delivering is a running `offerctl deliver`.
type delivering struct {
	said *heard
	end  context.CancelFunc
	code chan int
}

func startDeliver(t *testing.T, args ...string) *delivering {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	d := &delivering{said: &heard{came: make(chan struct{}, 1)}, end: end, code: make(chan int, 1)}
	go func() {
		d.code <- run(ctx, append([]string{"deliver"}, args...), stdio{strings.NewReader(""), io.Discard, d.said})
	}()
	return d
}

func (d *delivering) stop(t *testing.T, want int) {
	t.Helper()
	d.end()
	if code := <-d.code; code != want {
		t.Errorf("exit %d, want %d: %s", code, want, d.said.text.String())
	}
}

// TestDeliver runs a whole deployment with a sender: the real worker says what may go
// out, offers arrive signed, and what became of them is reported as events.
func TestDeliver(t *testing.T) {
	t.Parallel()
	def, err := config.LoadCampaigns(writeFile(t, "c.yaml", `version: 1
policies: {consent: {push: required}, quiet_hours: none}
campaigns:
  view: {on: Product Viewed, offer: {channel: push, kind: service, data: {text: "{{ event.properties.of }}"}}}
  ad: {on: Product Added, offer: {channel: push, data: {text: "ad {{ event.properties.of }}"}}}
  told: {on: Offer Delivered, where: 'event.properties.campaign == "ad"', offer: {channel: web, kind: service, data: {of: "{{ event.properties.offer_id }}"}}}
  failed: {on: Offer Failed, offer: {channel: web, kind: service, data: {why: "{{ event.properties.reason }}"}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", addr: "127.0.0.1:0", writeKey: "KEY", serverKey: "SERVER", partitions: 2, set: def, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	web, err := n.conn.NC.SubscribeSync("offers.web.*")
	if err != nil {
		t.Fatal(err)
	}
	push, err := n.conn.NC.SubscribeSync("offers.push.*")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.Header.Get("webhook-id") + " " + string(b)
	}))
	defer receiver.Close()
	next := func() (o struct{ Data pipeline.Offer }) {
		t.Helper()
		select {
		case text := <-got:
			id, body, _ := strings.Cut(text, " ")
			if err := json.Unmarshal([]byte(body), &o); err != nil || o.Data.ID != id {
				t.Errorf("%s: %v", text, err)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("nothing is delivered")
		}
		return o
	}
	told := func() string {
		t.Helper()
		m, err := web.NextMsg(2 * time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		var o pipeline.Offer
		if err := json.Unmarshal(m.Data, &o); err != nil {
			t.Fatal(err)
		}
		return o.User + " " + o.Campaign + " " + string(o.Data)
	}
	send := func(key, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.addr+"/v1/track", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(key, "")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", body, resp.Status)
		}
	}
	args := []string{"--channel", "push", "--url", receiver.URL, "--allow-private", "--secret-file", file(t, "s", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAA\n"),
		"--report", "http://" + n.addr, "--key-file", file(t, "k", "SERVER\n"), "--nats", n.natsURL(), "--metrics", "127.0.0.1:0"}
	d := startDeliver(t, args...)
	send("SERVER", `{"messageId":"c1","userId":"ada","event":"Consent Granted","properties":{"channel":"push"}}`)
	send("KEY", `{"messageId":"1","userId":"ada","event":"Product Added","properties":{"of":"first"}}`)
	first := next()
	if string(first.Data.Data) != `{"text":"ad first"}` {
		t.Errorf("%s", first.Data.Data)
	}
	if got, want := told(), `ada told {"of":"`+first.Data.ID+`"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	d.stop(t, 0)

	// While no sender runs, an offer goes out to one who then revokes the consent.
	send("KEY", `{"messageId":"2","userId":"ada","event":"Product Added","properties":{"of":"second"}}`)
	for i := 0; i < 2; i++ {
		if _, err := push.NextMsg(2 * time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	send("SERVER", `{"messageId":"c2","userId":"ada","event":"Consent Revoked","properties":{"channel":"push"}}`)
	if err := n.caughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	send("KEY", `{"messageId":"3","userId":"ada","event":"Product Viewed","properties":{"of":"third"}}`)
	d = startDeliver(t, args...)
	if third := next(); string(third.Data.Data) != `{"text":"third"}` {
		t.Errorf("%s is delivered", third.Data.Data)
	}
	if got := told(); got != `ada failed {"why":"consent"}` {
		t.Error(got)
	}
	d.stop(t, 0)
	if len(got) > 0 {
		t.Errorf("%d more were delivered", len(got))
	}
	if out := offerctl(t, "deadletters", "list", "--nats", n.natsURL()); !strings.Contains(out, "no dead letters") {
		t.Error(out)
	}

	// What is given up is listed.
	receiver.Close()
	send("KEY", `{"messageId":"4","userId":"ada","event":"Product Viewed","properties":{"of":"fourth"}}`)
	d = startDeliver(t, append(slices.Clone(args), "--attempts", "2")...)
	if got := told(); got != `ada failed {"why":"attempts"}` {
		t.Error(got)
	}
	d.stop(t, 0)
	if out := offerctl(t, "deadletters", "list", "--nats", n.natsURL()); !strings.Contains(out, "deliver/") || !strings.Contains(out, "attempt 2: connection: ") || !strings.Contains(out, "user ada") {
		t.Error(out)
	}
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"deadletters", "replay", "--id", "deliver/1", "--dry-run", "--nats", n.natsURL()}, stdio{strings.NewReader(""), &errs, &errs}); code != 1 || !strings.Contains(errs.String(), "it is an offer, not an event") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
	back := httptest.NewServer(receiver.Config.Handler)
	defer back.Close()
	args[slices.Index(args, receiver.URL)] = back.URL
	d = startDeliver(t, append(slices.Clone(args), "--letters")...)
	if fourth := next(); string(fourth.Data.Data) != `{"text":"fourth"}` {
		t.Errorf("%s is sent again", fourth.Data.Data)
	}
	if code := <-d.code; code != 0 || !strings.Contains(d.said.text.String(), "delivered=1 not_delivered=0 of_others=0") {
		t.Errorf("exit %d: %s", code, d.said.text.String())
	}
}

// TestDeliverFlags: what is wrong is said before NATS is asked, and secrets are not
// taken from the command line.
func TestDeliverFlags(t *testing.T) {
	secret := file(t, "s", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAA\n")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"no channel given", []string{"--url", "https://x.example"}},
		{`"No" is not a channel's name`, []string{"--channel", "No", "--url", "https://x.example", "--secret-file", secret}},
		{"no receiver given", []string{"--channel", "push"}},
		{`there is no preset "kafka": it is one of webhook, sms, fcm, slack, smtp`, []string{"--channel", "push", "--preset", "kafka", "--url", "https://x.example"}},
		{"preset webhook signs messages", []string{"--channel", "push", "--url", "https://x.example"}},
		{"preset fcm needs a token", []string{"--channel", "push", "--preset", "fcm", "--url", "https://x.example"}},
		{"--url has a user", []string{"--channel", "push", "--url", "https://a:b@x.example"}},
		{"is http, which everybody", []string{"--channel", "push", "--url", "http://x.example", "--secret-file", secret}},
		{"none that preset smtp can use", []string{"--channel", "email", "--preset", "smtp", "--url", "https://x.example"}},
		{"key 1 of the signing secret", []string{"--channel", "push", "--url", "https://x.example", "--secret-file", file(t, "short", "whsec_AAAA")}},
		{"is empty", []string{"--channel", "push", "--url", "https://x.example", "--secret-file", file(t, "empty", "\n")}},
		{"--report needs a key", []string{"--channel", "push", "--url", "https://x.example", "--secret-file", secret, "--report", "http://127.0.0.1:1"}},
		{"the template: template: ", []string{"--channel", "push", "--url", "https://x.example", "--secret-file", secret, "--template", file(t, "t", "{{")}},
		{"--start old is neither all nor new", []string{"--channel", "push", "--start", "old"}},
		{"--start is for offers", []string{"--channel", "push", "--start", "new", "--letters"}},
		{"--attempts", []string{"--channel", "push", "--url", "https://x.example", "--attempts", "0"}},
	} {
		var errs bytes.Buffer
		if code := run(t.Context(), append([]string{"deliver", "--nats", "nats://127.0.0.1:1"}, c.args...), stdio{strings.NewReader(""), io.Discard, &errs}); code != 2 || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%q: exit %d, %s, want %s", c.args, code, errs.String(), c.want)
		}
	}
}

// TestSendersDoc: deploy/SENDERS.md has all flags and metrics of deliver, and no others;
// the body that it shows is what the receiver gets.
func TestSendersDoc(t *testing.T) {
	b, err := os.ReadFile("../../deploy/SENDERS.md")
	if err != nil {
		t.Fatal(err)
	}
	doc, help, gateway := string(b), helpOf(t, "offerctl", "deliver"), helpOf(t, "gateway", "")
	flags := regexp.MustCompile(`(?m)^  --([a-z-]+)`)
	has := map[string]bool{}
	for _, m := range flags.FindAllStringSubmatch(help, -1) {
		has[m[1]] = true
		if m[1] != "prefix" && !strings.Contains(doc, "--"+m[1]) {
			t.Errorf("SENDERS.md has nothing about --%s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("(?:^|[ `(])--([a-z-]+)").FindAllStringSubmatch(doc, -1) {
		if !has[m[1]] && !strings.Contains(gateway, "--"+m[1]+" ") {
			t.Errorf("SENDERS.md shows --%s: there is no such flag", m[1])
		}
	}
	src, err := os.ReadFile("../../pipeline/deliver/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?:counter|vector|gauge|histogram)\("(\w+)"`).FindAllStringSubmatch(string(src), -1) {
		if !strings.Contains(doc, "`"+m[1]+"`") {
			t.Errorf("SENDERS.md has nothing about the metric %s", m[1])
		}
	}
	for _, p := range deliver.Presets() {
		if !strings.Contains(doc, "| `"+p+"` |") || !strings.Contains(help, p) {
			t.Errorf("SENDERS.md or the help has nothing about preset %s", p)
		}
	}
}
