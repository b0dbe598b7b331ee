package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/unsubscribe"
)

// TestUnsubscribe follows a link from a message: looking at it changes nothing, the
// button revokes the consent, and nothing more goes out.
func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	def, err := config.LoadCampaigns(writeFile(t, "c.yaml", `version: 1
policies: {consent: {sms: required}, quiet_hours: none}
campaigns:
  ad: {on: Product Added, offer: {channel: sms, data: {to: "1", text: "Bags. Stop: {{ unsubscribe_url }}"}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	const text = "0123456789abcdef0123456789abcdef"
	keys, err := unsubscribe.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", addr: "127.0.0.1:0", writeKey: "KEY", serverKey: "SERVER", partitions: 2, set: def, exposure: config.Exposure{Unsubscribe: keys}, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	base := "http://" + n.addr
	got := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	}))
	defer receiver.Close()
	d := startDeliver(t, "--channel", "sms", "--preset", "sms", "--url", receiver.URL, "--allow-private", "--unsubscribe", base, "--unsubscribe-key-file", file(t, "u", text+"\n"), "--nats", n.natsURL())
	defer d.stop(t, 0)
	request := func(method, url, key, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			req.SetBasicAuth(key, "")
		}
		if method == http.MethodPost && key == "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if key == "" && (resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Referrer-Policy") != "no-referrer") {
			t.Errorf("headers %v", resp.Header)
		}
		return resp.StatusCode, string(b)
	}
	consents := func() (holds []bool) {
		t.Helper()
		if err := n.caughtUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		var u pipeline.User
		if err := json.Unmarshal([]byte(offerctl(t, "user", "ada", "--nats", n.natsURL())), &u); err != nil {
			t.Fatal(err)
		}
		for _, c := range u.Consent {
			holds = append(holds, c.Channel == "sms" && c.Holds)
		}
		return holds
	}
	request("POST", base+"/v1/track", "SERVER", `{"messageId":"c1","userId":"ada","event":"Consent Granted","properties":{"channel":"sms"}}`)
	request("POST", base+"/v1/track", "KEY", `{"messageId":"1","userId":"ada","event":"Product Added"}`)
	var link string
	select {
	case body := <-got:
		if link = regexp.MustCompile(`Stop: (http://[^"]*)`).FindStringSubmatch(body)[1]; !strings.HasPrefix(link, base+"/v1/unsubscribe/") {
			t.Fatalf("%s", body)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing is delivered")
	}
	for _, method := range []string{"GET", "HEAD", "PUT"} {
		status, page := request(method, link, "", "")
		if want := map[bool]int{false: 200, true: 405}[method == "PUT"]; status != want || method == "GET" && (strings.Count(page, "<button>") != 1 || !strings.Contains(page, "by sms?")) {
			t.Errorf("%s: %d %s", method, status, page)
		}
	}
	for _, bad := range []string{link + "x", base + "/v1/unsubscribe/a.b"} {
		if status, page := request("POST", bad, "", ""); status != 404 || strings.Contains(page, "<button>") {
			t.Errorf("%s: %d %s", bad, status, page)
		}
	}
	if holds := consents(); len(holds) != 1 || !holds[0] {
		t.Fatalf("consent before the button: %v", holds)
	}
	if status, page := request("POST", link, "", "List-Unsubscribe=One-Click"); status != 200 || !strings.Contains(page, "You are unsubscribed") {
		t.Fatalf("the button: %d %s", status, page)
	}
	if holds := consents(); len(holds) != 1 || holds[0] {
		t.Fatalf("consent after the button: %v", holds)
	}
	// Whoever has consented again can revoke it again by the same link.
	request("POST", base+"/v1/track", "SERVER", `{"messageId":"c2","userId":"ada","event":"Consent Granted","properties":{"channel":"sms"}}`)
	if holds := consents(); !holds[0] {
		t.Fatal("a later consent does not hold")
	}
	request("POST", link, "", "")
	if holds := consents(); holds[0] {
		t.Error("the link works once only")
	}
}
