package deliver

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/unsubscribe"
)

// traitsOf answers with traits for all that are asked for.
func traitsOf(all map[string]string) func(string, *pipeline.DeliveryQuery) *pipeline.Delivery {
	return func(_ string, q *pipeline.DeliveryQuery) *pipeline.Delivery {
		a := &pipeline.Delivery{Traits: map[string]json.RawMessage{}}
		for _, name := range q.Traits {
			if is, ok := all[name]; ok {
				a.Traits[name] = json.RawMessage(is)
			}
		}
		return a
	}
}

// same compares JSON.
func same(t *testing.T, got []byte, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestSMS sends offers to a gateway for SMS, as JSON and as a form: to the trait, or to
// the data's `to`. Without either, an offer fails.
func TestSMS(t *testing.T) {
	t.Parallel()
	for _, form := range []bool{false, true} {
		d := deploy(t)
		d.say(traitsOf(map[string]string{"phone": `"+82 10-1234"`, "email": `"no"`}))
		to := receive(t, func(w http.ResponseWriter, g got, _ int) {
			if g.id == "bad-1" {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, "not a number")
			}
		})
		d.offers(1, "ada", "bad")
		own := offerOf("bob-1", "bob")
		own.Data = json.RawMessage(`{"to":8210,"body":"a & b \"c\""}`)
		d.offer(own)
		none := offerOf("eve-1", "eve")
		none.Data = json.RawMessage(`{"url":"x"}`)
		d.offer(none)
		r := d.start(Options{Receiver: Receiver{Preset: "sms", URL: to.URL, Form: form, Token: SecretText("T")}})
		await(t, "all have ended", func() bool { return r.metric("sent_total", "") == 2 && r.metric("failed_total", "") == 2 })
		bodies := map[string][]byte{}
		for _, g := range to.got() {
			bodies[g.id] = g.body
			if g.header.Get("Authorization") != "Bearer T" || g.header.Get("Idempotency-Key") != g.id {
				t.Errorf("headers %v", g.header)
			}
			if want := map[bool]string{false: "application/json", true: "application/x-www-form-urlencoded"}[form]; g.header.Get("Content-Type") != want {
				t.Errorf("%s", g.header.Get("Content-Type"))
			}
		}
		if len(bodies) != 3 || r.metric("failed_total", "http_4xx") != 1 || r.metric("failed_total", "template") != 1 || len(d.dead()) != 2 {
			t.Errorf("%d messages, dead %q\n%s", len(bodies), d.dead(), r.log)
		}
		if !form {
			same(t, bodies["ada-1"], `{"to":"+82 10-1234","text":"10% off bags"}`)
			same(t, bodies["bob-1"], `{"to":"8210","text":"a & b \"c\""}`)
			continue
		}
		for id, want := range map[string]url.Values{"ada-1": {"to": {"+82 10-1234"}, "text": {"10% off bags"}}, "bob-1": {"to": {"8210"}, "text": {`a & b "c"`}}} {
			if got, err := url.ParseQuery(string(bodies[id])); err != nil || got.Encode() != want.Encode() {
				t.Errorf("%s: %s, %v", id, bodies[id], err)
			}
		}
	}
}

// TestNoAddress: without an address an offer fails, without a dead letter.
func TestNoAddress(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.say(traitsOf(map[string]string{"phone": `""`}))
	to := receive(t, nil)
	d.offers(1, "ada")
	r := d.start(Options{Receiver: Receiver{Preset: "sms", URL: to.URL}})
	await(t, "it fails", func() bool { return r.metric("failed_total", "no_address") == 1 && d.left("deliver-push-sms") == 0 })
	if len(to.got()) > 0 || len(d.dead()) > 0 {
		t.Errorf("got %v, dead %q", to.got(), d.dead())
	}
}

// TestFCM sends offers as Firebase Cloud Messaging takes them, with a token from a file
// that is changed.
func TestFCM(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.say(traitsOf(map[string]string{"fcm_token": `"device"`}))
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	token, err := SecretFile(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var projected atomic.Bool
	to := receive(t, func(w http.ResponseWriter, g got, n int) {
		switch {
		case g.header.Get("Authorization") != "Bearer renewed":
			write("renewed")
			token.mu.Lock()
			token.looked = time.Time{} // as if five seconds had passed
			token.mu.Unlock()
			w.WriteHeader(http.StatusUnauthorized)
		case g.id == "bob-1" || strings.Contains(string(g.body), "bob-1"):
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":{"code":404,"status":"NOT_FOUND","details":[{"errorCode": "UNREGISTERED"}]}}`)
		case strings.Contains(string(g.body), "cid-1") && !projected.Swap(true):
			w.WriteHeader(http.StatusNotFound) // a wrong project
		}
	})
	o := offerOf("ada-1", "ada")
	o.Expires = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	d.offer(o)
	d.offers(1, "bob", "cid")
	r := d.start(Options{Receiver: Receiver{Preset: "fcm", URL: to.URL + "/v1/projects/p/messages:send", Token: token}})
	await(t, "all have ended", func() bool { return r.metric("sent_total", "") == 2 && r.metric("failed_total", "unregistered") == 1 })
	if r.metric("retries_total", "http_4xx") < 2 {
		t.Errorf("a wrong token and a wrong project are not tried again\n%s", r.log)
	}
	for _, g := range to.got() {
		var m struct {
			Message struct {
				Token        string
				Notification map[string]string
				Data         map[string]string
				Android      map[string]string
			}
		}
		if err := json.Unmarshal(g.body, &m); err != nil {
			t.Fatalf("%s: %v", g.body, err)
		}
		is := m.Message
		if is.Token != "device" || is.Notification["title"] != "Bags" || is.Notification["body"] != "10% off bags" || is.Data["campaign"] != "cart" {
			t.Errorf("%s", g.body)
		}
		if ttl := is.Android["ttl"]; (is.Data["offer_id"] == "ada-1") != (ttl != "" && ttl <= "3600s" && ttl >= "3400s") {
			t.Errorf("%s: ttl %q", is.Data["offer_id"], ttl)
		}
	}
}

// TestSlack: the text's characters that mean something to Slack are escaped; an archived
// channel stops the sender.
func TestSlack(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, func(w http.ResponseWriter, _ got, _ int) { w.WriteHeader(http.StatusGone) })
	o := offerOf("ada-1", "ada")
	o.Data = json.RawMessage(`"<!channel> a & b"`)
	d.offer(o)
	r := d.start(Options{Receiver: Receiver{Preset: "slack", URL: to.URL}})
	await(t, "it stops", func() bool { return r.metric("stopped", "") == 1 })
	same(t, to.got()[0].body, `{"text":"&lt;!channel&gt; a &amp; b"}`)
}

// TestUnsubscribe: where an offer has the placeholder of a link to unsubscribe, the
// message has the link, which the gateway's key opens. Without a key it does not go out.
func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	to := receive(t, nil)
	keys, err := unsubscribe.Parse("0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	o := offerOf("ada-1", "ada")
	o.Anon = true
	o.Data = json.RawMessage(`{"text":"10%; stop: ` + unsubscribe.Placeholder + `"}`)
	d.offer(o)
	d.offers(1, "bob")
	r := d.start(Options{Receiver: Receiver{Preset: "webhook", URL: to.URL, Secret: SecretText(key), Unsubscribe: keys, UnsubscribeFrom: "https://events.shop.example/"}})
	await(t, "they are delivered", func() bool { return r.metric("sent_total", "") == 2 })
	r.stop()
	for _, g := range to.got() {
		var body struct {
			Data struct{ Data struct{ Text string } }
		}
		if err := json.Unmarshal(g.body, &body); err != nil {
			t.Fatal(err)
		}
		if g.id == "bob-1" {
			continue
		}
		token, ok := strings.CutPrefix(body.Data.Data.Text, "10%; stop: https://events.shop.example/v1/unsubscribe/")
		if l, opens := keys.Open(token); !ok || !opens || l != (unsubscribe.Link{User: "ada", Anonymous: true, Channel: "push"}) {
			t.Errorf("%s opens %+v", g.body, l)
		}
	}
	again := *o
	again.ID = "ada-2"
	d.offer(&again)
	r = d.start(Options{Receiver: d.webhook(to)})
	await(t, "without a key it does not go out", func() bool { return r.metric("failed_total", "unsubscribe") == 1 })
	if dead := d.dead(); len(dead) != 1 || !strings.HasPrefix(dead[0], "unsubscribe ada-2") || len(to.got()) != 2 {
		t.Errorf("dead %q, %d requests", dead, len(to.got()))
	}
	d2, err := New(Options{Channel: "push", Receiver: Receiver{Preset: "slack", URL: "https://x.example", Unsubscribe: keys, UnsubscribeFrom: "https://events.shop.example"}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if m, fail := d2.preset.message(&held{offer: o, raw: raw}, nil, time.Now()); fail != nil || !strings.Contains(string(m.body), "https://events.shop.example/v1/unsubscribe/") || strings.Contains(string(m.body), "invalid") {
		t.Errorf("in a text: %v %+v", m, fail)
	}
	if !strings.Contains(string(o.Data), unsubscribe.Placeholder) {
		t.Error("the offer itself is changed")
	}
	for _, from := range []string{"", "http://events.shop.example", "https://u:p@events.shop.example", "https://events.shop.example?a=b"} {
		if _, err := New(Options{Channel: "push", Receiver: Receiver{Preset: "slack", URL: "https://x.example", Unsubscribe: keys, UnsubscribeFrom: from}}); err == nil {
			t.Errorf("links at %q", from)
		}
	}
}

// TestTemplates: a template of one's own sees the offer and the traits that it names;
// what it needs and is not there fails, and is not sent in part.
func TestTemplates(t *testing.T) {
	hold := func(data string) *held {
		o := offerOf("1", "ada")
		o.Data = json.RawMessage(data)
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return &held{offer: o, raw: raw}
	}
	traits := map[string]json.RawMessage{"name": []byte(`"Ada"`), "points": []byte(`12345678901234567890`)}
	for _, c := range []struct{ template, data, want, asks string }{
		{`Hi {{.Traits.name}}{{with $.Traits.points}} ({{.}}){{end}}: {{field . "a" "b"}}{{.Traits.none}}`, `{"b":1.50}`, "Hi Ada (12345678901234567890): 1.50", "name none points"},
		{`{{range .Data.items}}{{.name}};{{end}}{{if .TTL}}x{{end}}`, `{"items":[{"name":"b"},{"name":"a"}]}`, "b;a;", ""},
		{`{{.Data.none}}`, `{"a":1}`, `error map has no entry for key "none"`, ""},
		{`{{text . "a" "b"}}`, `{"c":"x","a":{}}`, "error the offer's data has no text in any of a, b", ""},
		{`{{json .Data}}`, `{"a":"</x>&"}`, `{"a":"</x>&"}`, ""},
		{`{{json .Offer.User}} {{.Offer.Campaign}} {{.JSON}}`, `1`, `"ada" cart ` + string(hold("1").raw), ""},
		{`{{range .Data}}{{printf "%1000d" 1}}{{end}}`, "[" + strings.Repeat("1,", 1100) + "1]", "error the message has 1101000 bytes", ""},
	} {
		d, err := New(Options{Channel: "push", Receiver: Receiver{Preset: "slack", URL: "https://x.example", Template: c.template}})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(d.preset.traits, " "); got != c.asks {
			t.Errorf("%s asks for traits %q, want %q", c.template, got, c.asks)
		}
		m, fail := d.preset.message(hold(c.data), traits, time.Now())
		if want, is := strings.CutPrefix(c.want, "error "); is {
			if fail == nil || fail.reason != reasonTemplate || fail.verdict != never || !strings.Contains(fail.detail, want) {
				t.Errorf("%s: %+v, want %s", c.template, fail, want)
			}
			continue
		}
		if fail != nil || string(m.body) != c.want {
			t.Errorf("%s: %v %+v, want %s", c.template, m, fail, c.want)
		}
	}
	for _, p := range Presets() {
		if TemplateOf(p) == "" {
			t.Errorf("preset %s has no template", p)
		}
	}
}
