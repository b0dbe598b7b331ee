package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// hostile are characters that a terminal or a browser obeys, or that turn text around.
const hostile = "\x1b[31mred\x1b]0;title\a<script>x</script>\u202eevil\u0085\u009b2J"

const hostileSet = `features: {seen: {on: View, agg: list, fields: [x], within: 1h}}
policies: {consent: none, quiet_hours: none}
campaigns:
  a: {on: "*", where: event.type == "track", if: seen.size() > 0, limits: [{max: 1}], offer: {channel: web, data: {t: "{{ event.properties.x }}"}}}
  b: {on: View, where: event.properties.x == "never", offer: {channel: web}}
  c: {on: View, if: 'seen[0].x == "never"', offer: {channel: web}}
`

// hostileEvents are events of a user, whose names and values are not meant well.
func hostileEvents(t *testing.T, user string) string {
	var b bytes.Buffer
	for i, name := range []string{"View", hostile, "View"} {
		line, err := json.Marshal(map[string]any{"type": "track", "event": name, "messageId": fmt.Sprint("m", i, hostile), "userId": user,
			"timestamp": fmt.Sprintf("2026-01-01T10:00:%02dZ", i), "properties": map[string]any{"x": hostile}})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return file(t, "events.jsonl", b.String())
}

// TestHostileTexts: no character of an event's names and values reaches a terminal, a
// page or a file of scenarios as more than a sign of it.
func TestHostileTexts(t *testing.T) {
	user := "u\u202e<b>&" + strings.Repeat("é", 200)
	set, events := file(t, "c.yaml", hostileSet), hostileEvents(t, user)
	dir := t.TempDir()
	page, junit, scenario := filepath.Join(dir, "page.html"), filepath.Join(dir, "junit.xml"), filepath.Join(dir, "x.test.yaml")
	for _, args := range [][]string{
		{"explain", user, "--events", events, "--campaigns", set, "--all"},
		{"backtest", "--events", events, "--campaigns", set, "--report", page},
		{"check", "--events", events, set},
		{"test", "--from-user", user, "--events", events, "--campaigns", set, "--out", scenario},
		{"test", "--junit", junit, scenario},
	} {
		out, code := ran(t, args...)
		if code != 0 {
			t.Errorf("%s: exit status %d\n%s", args[0], code, out)
		}
		checkHarmless(t, args[0], out)
		if args[0] == "explain" && !strings.Contains(out, `by \u001b[31mred\u001b]0;title\u0007<script>`) {
			t.Errorf("explain does not show the name:\n%s", out)
		}
	}
	for _, name := range []string{page, junit, scenario} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		checkHarmless(t, name, string(b))
		if name == page && (bytes.Contains(b, []byte("<script")) || !bytes.Contains(b, []byte("&lt;script&gt;"))) {
			t.Error("the page has the script of an event, or does not show it")
		}
	}
}

func checkHarmless(t *testing.T, what, text string) {
	t.Helper()
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) }); i >= 0 {
		t.Errorf("%s: %q at %d: %.300q", what, text[i:i+1], i, text[max(0, i-100):])
	}
}

// TestDisplay: characters are seen whole, however they are divided among writes.
func TestDisplay(t *testing.T) {
	const text = "a\tb\né 가 👩‍💻\u00a0x\x1b[0m\xff\u2066\U000e0041"
	const want = "a\tb\né 가 👩‍💻\u00a0x\\u001b[0m\ufffd\\u2066\\U000e0041"
	for size := 1; size <= len(text); size++ {
		var b bytes.Buffer
		d := onDisplay(&b)
		for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
			if n, err := d.Write([]byte(rest[:min(size, len(rest))])); n != min(size, len(rest)) || err != nil {
				t.Fatal(n, err)
			}
		}
		if b.String() != want {
			t.Fatalf("in parts of %d bytes: %q, want %q", size, b.String(), want)
		}
	}
}

// TestNewFile: a file that is not complete leaves the old one, and nothing beside it.
func TestNewFile(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "offers.jsonl")
	if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	set, events := file(t, "c.yaml", viewCampaign), file(t, "e.jsonl", view(1, `"x":1`))
	left := func() string {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%v, %v", entries, err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, of := range map[string]struct {
		ctx  context.Context
		args []string
	}{
		"interrupted":         {ctx, []string{"backtest", "--campaigns", set, "--events", events, "--out", out}},
		"no such events":      {t.Context(), []string{"backtest", "--campaigns", set, "--events", events + ".gone", "--out", out}},
		"the report, as well": {ctx, []string{"backtest", "--campaigns", set, "--events", events, "--report", out}},
	} {
		if code := run(of.ctx, of.args, stdio{strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}}); code != 1 || left() != "old" {
			t.Errorf("%s: exit status %d, the file has %q", what, code, left())
		}
	}
	if text, code := ran(t, "backtest", "--campaigns", set, "--events", events, "--out", out); code != 0 || !strings.HasPrefix(left(), `{"id":`) {
		t.Errorf("exit status %d, the file has %q\n%s", code, left(), text)
	}
	if st, err := os.Stat(out); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: the mode is another one", st.Mode(), err)
	}
	if text, code := ran(t, "backtest", "--campaigns", set, "--events", events, "--out", os.DevNull); code != 0 {
		t.Errorf("exit status %d\n%s", code, text)
	}
}
