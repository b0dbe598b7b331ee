package ingest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"offerstream/config"
	"offerstream/pipeline/event"
)

// TestKeysFile: the file's keys are in force beside those of the settings; a change
// is, once the file is read again; and a file that cannot be read changes nothing.
func TestKeysFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("- {name: one, key: k1, roles: [browser]}\n- {name: hashed, sha256: " + fmt.Sprintf("%x", sha256.Sum256([]byte("k2"))) + ", roles: [server]}\n")
	var out bytes.Buffer
	log := newFakeLog(1)
	g := newGateway(t, log, func(o *Options) {
		o.ServerKeys, o.WriteKeys, o.KeysFile, o.Logger = []string{"s", "w"}, []string{"w"}, file, slog.New(slog.NewTextHandler(&out, nil))
	})
	coupon := `{"type":"system","event":"Coupon Redeemed","userId":"u"}`
	check := func(want string) {
		t.Helper()
		got := ""
		for _, key := range []string{"s", "w", "k1", "k2", "k3", ""} {
			got += fmt.Sprintf("%s %d ", key, post(g, "/v1/system", coupon, as(key)).Code)
		}
		if strings.TrimSpace(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	check("s 200 w 200 k1 403 k2 200 k3 401  401")
	post(g, "/v1/batch", batch(`{}`), as("k1")) // its allowance goes with it
	write("- {name: three, key: k3, roles: [server]}\n")
	check("s 200 w 200 k1 403 k2 200 k3 401  401")
	g.reloadKeys()
	check("s 200 w 200 k1 401 k2 401 k3 200  401")
	if n := len(g.letters.keys); n != 0 {
		t.Errorf("%d allowances are left", n)
	}
	for _, broken := range []string{"- {name: x", "- {name: x, key: s3cret-s3cret, roles: [king]}", "", "[]", "- {name: twice, key: w, roles: [browser]}"} {
		write(broken)
		g.reloadKeys()
		g.reloadKeys()
		if broken != "[]" { // no key, but there are those of the settings
			check("s 200 w 200 k1 401 k2 401 k3 200  401")
		}
		write("- {name: three, key: k3, roles: [server]}\n")
		g.reloadKeys()
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	g.reloadKeys()
	check("s 200 w 200 k1 401 k2 401 k3 200  401")
	if text := out.String(); strings.Count(text, "level=ERROR") != 5 || strings.Contains(text, "s3cret") {
		t.Errorf("the log is\n%s", text)
	}
}

// TestNoKeys: a gateway that nobody could use does not start.
func TestNoKeys(t *testing.T) {
	for _, opt := range []Options{{}, {WriteKeys: []string{""}}, {ServerKeys: []string{"a", ""}}, {KeysFile: "no such file"},
		{WriteKeys: []string{"a"}, Keys: []config.Key{config.KeyOf("a", "a", event.Server)}}} {
		opt.Log = newFakeLog(1)
		if _, err := New(opt); err == nil {
			t.Errorf("%+v: no error", opt)
		}
	}
	g := newGateway(t, newFakeLog(1), func(o *Options) { o.Keys = []config.Key{config.KeyOf("nothing", "", event.Server)} })
	for _, change := range []string{`{"writeKey":"",`, `{`} {
		if w := post(g, "/v1/track", change+good[1:], noAuth); w.Code != 401 {
			t.Errorf("without a key: %d %s", w.Code, w.Body)
		}
	}
}
