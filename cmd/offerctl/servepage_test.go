package main

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServePage: a visitor's event brings an offer to his page; when he logs in it is the
// user's; after a restart everything is as before, and his token still counts.
func TestServePage(t *testing.T) {
	t.Parallel()
	dir, files := t.TempDir(), t.TempDir()
	put(t, filepath.Join(files, "a.yaml"), `campaigns: {one: {on: View, offer: {channel: web, expires: 1h, data: {n: "{{ event.properties.n }}"}}}}`)
	ask := func(method, url, body string, header ...string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		if len(header) == 0 {
			r.SetBasicAuth("s", "")
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 && resp.StatusCode != 503 {
			t.Fatalf("%s %s: %d %s, %v", method, url, resp.StatusCode, b, err)
		}
		return string(b)
	}
	var of struct{ ID, Token string }
	offers := func(base, query, want string, header ...string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; {
			got := ask("GET", base+"/v1/offers"+query, "", header...)
			if strings.Contains(got, want) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the offers %s are %s, want %s", query, got, want)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	base := func(out *transcript, ended <-chan struct{}) string {
		return out.await(t, `events: (http://\S+)/v1/batch`, ended)[1]
	}
	serving(t, dir, []string{"--campaigns", files, "--server-key", "s"}, func(_ string, out *transcript, ended <-chan struct{}) {
		at := base(out, ended)
		out.await(t, `pages:  <script src="`+at+`/v1/offerstream-[0-9a-f]{12}.js" integrity="sha384-\S+" crossorigin="anonymous" defer data-key="k"></script>`, ended)
		if err := json.Unmarshal([]byte(ask("POST", at+"/v1/visitor", "", "X", "x")), &of); err != nil {
			t.Fatal(err)
		}
		ask("POST", at+"/v1/track", `{"anonymousId":"`+of.ID+`","event":"View","properties":{"n":"first"}}`)
		offers(at, "", `"data":{"n":"first"}`, "Authorization", "Bearer "+of.Token)
		offers(at, "?visitor="+of.ID, `"data":{"n":"first"}`)
		ask("POST", at+"/v1/identify", `{"userId":"ann","anonymousId":"`+of.ID+`"}`)
		offers(at, "?user=ann", `"data":{"n":"first"}`)
		offers(at, "", `{"offers":[]}`, "Authorization", "Bearer "+of.Token)
		ask("POST", at+"/v1/track", `{"userId":"ann","event":"View","properties":{"n":"second"}}`)
		offers(at, "?user=ann", `"data":{"n":"second"}`)
	})
	serving(t, dir, []string{"--server-key", "s"}, func(_ string, out *transcript, ended <-chan struct{}) {
		at := base(out, ended)
		offers(at, "?user=ann", `"data":{"n":"second"}`)
		offers(at, "", `{"offers":[]}`, "Authorization", "Bearer "+of.Token)
	})
}
