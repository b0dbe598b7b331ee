package ingest

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/config"
	"offerstream/pipeline/event"
)

// TestStamp: what the log says about proof, whatever the client says.
func TestStamp(t *testing.T) {
	at := `"receivedAt":"2026-01-02T15:04:05Z"`
	plain := `{"type":"page","userId":"ann","messageId":"m"}`
	own := `{"type":"page","userId":"ann","messageId":"m","userToken":"` + token() + `"}`
	proved, unproved := `{"type":"page","userId":"ann","messageId":"m",`+at+`}`, `{"proof":"none","type":"page","userId":"ann","messageId":"m",`+at+`}`
	head := with(headerToken, token())
	for _, tt := range []struct {
		key, envelope, event string
		change               func(*http.Request)
		want                 string
	}{
		{"browser", "", plain, nil, unproved},
		{"browser", "", plain, head, proved},
		{"browser", `"userToken":"` + token() + `",`, plain, nil, proved},
		{"browser", `"userToken":"` + token() + `",`, plain, with(headerToken, "x"), proved},
		{"browser", `"userToken":"x",`, plain, head, unproved},
		{"browser", "", own, nil, proved},
		{"browser", "", own, with(headerToken, "x"), proved},
		{"browser", "", strings.Replace(own, token(), "x", 1), head, unproved},
		{"browser", "", `{"userToken":"x",` + own[1:], head, unproved},
		{"browser", "", `{"user\u0054oken":"x",` + own[1:], nil, unproved},
		{"browser", "", `{"userToken":7,` + plain[1:], head, proved},
		{"browser", "", `{"proof":"all",` + plain[1:], nil, unproved},
		{"browser", "", `{"proof":"none",` + plain[1:], head, proved},
		{"browser", "", `{"pr\u006fof":"all","proof":"none",` + plain[1:], nil, unproved},
		{"browser", "", `{"type":"page","anonymousId":"ann","messageId":"m"}`, head, `{"proof":"none","type":"page","anonymousId":"ann","messageId":"m",` + at + `}`},
		{"browser", "", `{ "type":"page","userId":"ann","messageId":"m" }`, nil, `{"proof":"none", "type":"page","userId":"ann","messageId":"m" ,` + at + `}`},
		{"browser+feeder", "", plain, nil, unproved},
		{"verified", "", plain, head, proved},
		{"server", "", plain, nil, proved},
		{"server", "", plain, head, proved},
		{"server", "", `{"proof":"none",` + plain[1:], nil, proved},
		{"server", "", `{"\u0070roof":"none",` + plain[1:], nil, proved},
		{"server", "", `{"writeKey":"server",` + plain[1:], nil, proved},
		{"both", "", plain, nil, proved},
		{"server", "", plain, with(headerSender, fromBrowser), unproved},
		{"browser", "", plain, func(r *http.Request) { head(r); r.Header.Set(headerSender, fromBrowser) }, unproved},
	} {
		log := newFakeLog(1)
		change := []func(*http.Request){as(tt.key)}
		if tt.change != nil {
			change = append(change, tt.change)
		}
		w := post(newRoleGateway(t, log), "/v1/batch", `{`+tt.envelope+`"batch":[`+tt.event+`]}`, change...)
		if got := log.all(); w.Code != 200 || !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s %s %s: %d %s\n got %q\nwant %q", tt.key, tt.envelope, tt.event, w.Code, w.Body, got, tt.want)
		}
	}
}

// TestUserToken: what proves a user, and what does not.
func TestUserToken(t *testing.T) {
	const want = "1767369845.UFTu4byNuJhBC-2i6vnoTILNKZGY8IxMQ5vccWw-J50" // as openssl computes it
	if got := token(); got != want {
		t.Errorf("the token is %s, want %s", got, want)
	}
	expiry, mac, _ := strings.Cut(want, ".")
	now := time.Unix(0, testNow)
	for tok, ok := range map[string]bool{
		want: true, "": false, ".": false, expiry: false, expiry + ".": false, "." + mac: false, mac: false,
		expiry + "." + mac + "=": false, expiry + "." + mac[1:]: false, "0" + want: false, "+" + want: false, want + "\n": false,
		"1767369846." + mac: false, strings.ToLower(want): false, "1767369845x." + mac: false, "99999999999999." + mac: false,
		UserToken([]byte(testSecret), "bob", now.Add(time.Hour)):            false,
		UserToken([]byte(testSecret+"x"), "ann", now.Add(time.Hour)):        false,
		UserToken([]byte(testSecret), "ann", now.Add(time.Second)):          true,
		UserToken([]byte(testSecret), "ann", now):                           false,
		UserToken([]byte(testSecret), "ann", now.Add(-time.Hour)):           false,
		UserToken([]byte(testSecret), "ann", time.Unix(-5, 0)):              false,
		UserToken([]byte(testSecret), "ann", now.Add(100*365*24*time.Hour)): true,
	} {
		s := sender{secret: []byte(testSecret), now: testNow}
		for range 2 { // the second time with the same mac
			if _, got := s.provesUser([]byte(tok), "ann"); got != ok {
				t.Errorf("%q: %v", tok, got)
			}
		}
	}
	for _, user := range []string{`7`, `"7"`, `7.0`, `"é"`, `"\u00e9"`} { // a number counts as its text
		log := newFakeLog(1)
		id := map[bool]string{true: "7", false: "é"}[strings.Contains(user, "7")]
		tok := UserToken([]byte(testSecret), id, now.Add(time.Hour))
		w := post(newRoleGateway(t, log), "/v1/page", `{"userId":`+user+`}`, as("verified"), with(headerToken, tok))
		if w.Code != 200 || len(log.all()) != 1 || strings.Contains(log.all()[0], "proof") {
			t.Errorf("%s: %d %s %q", user, w.Code, w.Body, log.all())
		}
	}
}

// TestClaimedUser: under identity: verified, a userId without proof is only a property.
func TestClaimedUser(t *testing.T) {
	at := `"receivedAt":"2026-01-02T15:04:05Z"`
	for event, want := range map[string]string{
		`{"type":"page","messageId":"m","userId":"bob","anonymousId":"x"}`:                                                                                           `"type":"page","messageId":"m","anonymousId":"x","properties":{"claimed_user_id":"bob"}`,
		`{"userId":"bob","type":"page","messageId":"m","anonymousId":"x","properties":{}}`:                                                                           `"type":"page","messageId":"m","anonymousId":"x","properties":{"claimed_user_id":"bob"}`,
		`{"type":"page","messageId":"m","userId":7,"anonymousId":"x","properties":null}`:                                                                             `"type":"page","messageId":"m","anonymousId":"x","properties":{"claimed_user_id":7}`,
		`{"type":"page","messageId":"m","userId":"b\"","anonymousId":"x","properties":[ ]}`:                                                                          `"type":"page","messageId":"m","anonymousId":"x","properties":{"claimed_user_id":"b\""}`,
		`{"type":"page","messageId":"m","userId":"bob","anonymousId":"x","properties":{"a":1}}`:                                                                      `"type":"page","messageId":"m","anonymousId":"x","properties":{"claimed_user_id":"bob","a":1}`,
		`{"type":"page","messageId":"m","userId":"bob","anonymousId":"x","properties":{ "claimed_user_id":1}}`:                                                       `"type":"page","messageId":"m","anonymousId":"x","properties":{"claimed_user_id":"bob","claimed_user_id":1}`,
		`{"type":"page","messageId":"m","properties":{ },"userId":"bob","userId":"eve","us\u0065rId":1,"anonymousId":"x","prop\u0065rties":{"b":2},"properties":[]}`: `"type":"page","messageId":"m","properties":{"claimed_user_id":"bob"},"anonymousId":"x"`,
		`{"type":"page","messageId":"m","prop\u0065rties":null,"u\u0073erId":"bob","anonymousId":"x","properties":{"a":1}}`:                                          `"type":"page","messageId":"m","prop\u0065rties":{"claimed_user_id":"bob"},"anonymousId":"x"`,
		`{"type":"page","messageId":"m","anonymousId":"x"}`:                                                                                                          `"type":"page","messageId":"m","anonymousId":"x"`,
		`{"type":"page","messageId":"m","userId":"","anonymousId":"x"}`:                                                                                              `"type":"page","messageId":"m","userId":"","anonymousId":"x"`,
	} {
		log := newFakeLog(3)
		w := post(newRoleGateway(t, log), "/v1/batch", batch(event), as("verified"))
		if w.Code != 200 || !slices.Equal(log.all(), []string{`{"proof":"none",` + want + `,` + at + `}`}) {
			t.Errorf("%s: %d %s\n got %q\nwant %s", event, w.Code, w.Body, log.all(), want)
		}
	}
	none := `{"type":"page","userId":"bob"}`
	log := newFakeLog(1)
	g := newRoleGateway(t, log)
	if w := post(g, "/v1/page", none, as("verified")); w.Code != 401 || !strings.Contains(w.Body.String(), `"reason":"unproved"`) {
		t.Errorf("without an anonymousId: %d %s", w.Code, w.Body)
	}
	if w := post(g, "/v1/batch", batch(none, none), as("verified")); w.Code != 200 || !strings.Contains(w.Body.String(), `"accepted":0,"refused":2,"denied":2`) || len(log.dead()) > 0 {
		t.Errorf("in a batch: %d %s, dead %q", w.Code, w.Body, log.dead())
	}
	if w := post(g, "/v1/page", none, as("browser"), with(headerSender, fromVerified)); w.Code != 401 {
		t.Errorf("sent on for a verified key: %d %s", w.Code, w.Body)
	}
	if w := post(g, "/v1/page", none, as("verified"), with(headerSender, fromBrowser)); w.Code != 401 {
		t.Errorf("sent on by a verified key: %d %s", w.Code, w.Body)
	}
	if w := post(g, "/v1/page", none, as("server"), with(headerSender, "server")); w.Code != 400 {
		t.Errorf("an unknown sender: %d %s", w.Code, w.Body)
	}
	if w := post(g, "/v1/page", none, as("feeder"), with(headerSender, fromBrowser)); w.Code != 403 {
		t.Errorf("sent on by a feeder: %d %s", w.Code, w.Body)
	}
	// The id of an event without messageId is that of the bytes that came.
	raw := `{"type":"page","userId":"bob","anonymousId":"x"}`
	post(g, "/v1/page", raw, as("verified"))
	if got := log.all(); len(got) != 1 || !strings.Contains(got[0], `"messageId":"`+event.ContentID([]byte(raw))+`"`) {
		t.Errorf("stored %q", got)
	}
	if l := log.dead(); len(l) > 0 {
		t.Errorf("dead letters %q", l)
	}
}

// TestLetterSender: a dead letter says who sent it.
func TestLetterSender(t *testing.T) {
	for key, want := range map[string]string{"browser": fromBrowser, "verified": fromVerified, "server": fromTrusted, "both": fromTrusted, "feeder": fromTrusted, "browser+feeder": fromBrowser} {
		log := newFakeLog(1)
		post(newRoleGateway(t, log), "/v1/batch", batch(`{"type":"page"}`), as(key), with(headerToken, token()))
		if len(log.letters) != 1 || log.letters[0].Sender != want {
			t.Errorf("%s: %+v", key, log.letters)
		}
	}
}

// FuzzJudged: no bytes reach the log as an event that the gateway has not judged:
// what is stored reads as one that the key may send, with the stamp that it needs.
func FuzzJudged(f *testing.F) {
	for _, s := range []string{
		`{"type":"track","event":"Consent Granted","userId":"ann","anonymousId":"x"}`, `{"type":"page","event":"A","\u0074ype":"track","userId":"bob","anonymousId":7}`,
		`{"proof":"x","pr\u006fof":"none","type":"page","us\u0065rId":null,"userId":"bob","anonymousId":"x","properties":[]}`,
		`{"type":"system","event":"Offer Shown","userId":"\ud83d","anonymousId":"\ud83d","properties":{"a":1},"propertie\u0073":null}`,
		`{"type":"system","ev\u0065nt":"Coupon Redeemed","event":"Offer Shown","userId":12e3,"anonymousId":"x"}`,
		`{"event":"Consent\u0020Granted","userId":"ann","userToken":"` + token() + `"}`, `{"type":"fact","fact":"w","key":"k","values":{},"proof":"none"}`,
		`{"type":"item","kind":"product","id":"p1","event":"Price Changed","userId":"ann","proof":"none"}`,
		`{"type":"identify","userId":1e999,"anonymousId":"x"}`, "{\n\"type\":null,\"userId\":\"ann\",\"anonymousId\":\"x\",\"event\":\"Coupon Redeemed\"}", `{"type":"clock","timestamp":"2026-01-01T00:00:00Z"}`,
	} {
		for i := range uint8(24) {
			f.Add([]byte(s), i)
		}
	}
	keys := []string{"browser", "verified", "server", "browser+feeder", "feeder", "operator"}
	f.Fuzz(func(t *testing.T, raw []byte, how uint8) {
		log := newFakeLog(2)
		g := newRoleGateway(t, log)
		key := roleKeys()[slices.IndexFunc(roleKeys(), func(k config.Key) bool { return k.Name == keys[int(how)/4%len(keys)] })]
		path, body := "/v1/track", string(raw)
		if how&1 != 0 {
			path, body = "/v1/batch", `{"batch":[`+body+`]}`
		}
		change := []func(*http.Request){as(key.Name)}
		if how&2 != 0 {
			change = append(change, with(headerToken, token()))
		}
		if w := post(g, path, body, change...); w.Code >= 500 || w.Code == 404 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		browser := key.Roles.Has(event.Browser)
		for p := range 2 {
			for _, text := range log.events(p) {
				var d event.Decoder
				ev, err := d.Decode([]byte(text))
				if err != nil || !json.Valid([]byte(text)) {
					t.Fatalf("stored %q: %v", text, err)
				}
				proved := !ev.NoProof && ev.Key == "u:ann" // the only user with a token
				if no := event.Judge(ev, key.Roles, proved); no != nil {
					t.Errorf("stored %q of %s: %v", text, key.Name, no)
				}
				if !ev.OfUser() {
					continue
				}
				if browser && !ev.NoProof && ev.Key != "u:ann" || !browser && ev.NoProof {
					t.Errorf("stored %q of %s", text, key.Name)
				}
				if browser && !ev.NoProof && how&2 == 0 && !strings.Contains(string(raw), "oken") {
					t.Errorf("stored %q as proved", text)
				}
				if key.Verified && ev.NoProof && ev.Key[0] != 'a' {
					t.Errorf("stored %q, which names a user without proof", text)
				}
				if p != event.Partition(ev.Key, 2) {
					t.Errorf("stored %q in partition %d", text, p)
				}
				if ev, err = d.DecodeAs([]byte(text), 0); err != nil || ev.Root.Exists("userToken") {
					t.Errorf("stored the token: %q, %v", text, err)
				}
			}
		}
		if len(log.dead()) > 0 {
			sent, err := new(event.Decoder).AdmitLive(raw, 0)
			if err == nil && event.Judge(sent, key.Roles, false) != nil {
				t.Errorf("%q is a dead letter", raw)
			}
		}
	})
}

// TestWithoutToken: an object keeps all but its own token, wherever that stands.
func TestWithoutToken(t *testing.T) {
	for object, want := range map[string]string{
		`{}`:                                                `{}`,
		`{"a":1,"b":2}`:                                     `{"a":1,"b":2}`,
		`{"userToken":"x"}`:                                 `{}`,
		`{ "userToken" : "x" }`:                             `{}`,
		`{"userToken":"x","a":1}`:                           `{"a":1}`,
		`{"userToken":"x" , "a":1 ,"b":2}`:                  `{ "a":1 ,"b":2}`,
		`{"a":1,"userToken":"x","b":[2]}`:                   `{"a":1,"b":[2]}`,
		`{"a":1,"userToken":"x"}`:                           `{"a":1}`,
		`{"userToken":1,"a":1,"userToken":2}`:               `{"a":1}`,
		`{"userToken":1,"userToken":2}`:                     `{}`,
		`{"user\u0054oken":1,"a":1}`:                        `{"a":1}`,
		`{"userToken":1,"user\u0054oken":2,"a":"\u0054"}`:   `{"a":"\u0054"}`,
		`{"userToken":"x","a":{"userToken":"y"}}`:           `{"a":{"userToken":"y"}}`,
		`{"a":"userToken","userToken":"x","b":"userToken"}`: `{"a":"userToken","b":"userToken"}`,
	} {
		if got := string(withoutToken([]byte(object))); got != want {
			t.Errorf("%s: %s, want %s", object, got, want)
		}
	}
}

// TestIndexToken: the name of a token is found where a plain search finds it.
func TestIndexToken(t *testing.T) {
	const seed = 5
	rng := rand.New(rand.NewPCG(seed, seed))
	found := 0
	for range 10_000 {
		var text []byte
		for range rng.IntN(6) {
			text = append(text, [...]string{"user", "Token", "userToken", "T", "r", `"`, "visito", "visitorToken"}[rng.IntN(8)]...)
		}
		var want span
		for _, member := range [...]string{memberToken, memberVisitor} {
			if i := bytes.Index(text, []byte(member)); i >= 0 && (!want.present() || i < want.from) {
				want = span{i, i + len(member)}
			}
		}
		got := indexToken(text)
		if got != want {
			t.Fatalf("seed %d: in %q at %d, want %d", seed, text, got, want)
		}
		if got.from > 0 {
			found++
		}
	}
	if found < 100 {
		t.Errorf("seed %d: found only %d", seed, found)
	}
}
