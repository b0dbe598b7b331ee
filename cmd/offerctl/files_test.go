package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fastjson"
)

// ran is the output of a command and its exit status, as from the shell.
func ran(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	var o bytes.Buffer
	code = run(t.Context(), args, stdio{strings.NewReader(""), &o, &o})
	return o.String(), code
}

// file writes a file into a temporary directory.
func file(t *testing.T, name string, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const viewCampaign = `campaigns: {c: {on: View, offer: {channel: web, data: "{{ event.properties }}"}}}`

// view is a line of a file of events.
func view(n int, properties string) string {
	return fmt.Sprintf(`{"type":"track","event":"View","userId":"ada","messageId":"m%d","timestamp":"2026-01-01T10:00:%02dZ","properties":{%s}}`+"\n", n, n, properties)
}

// gatewayOf is a gateway that takes everything; events are the bodies that it gets.
func gatewayOf(t *testing.T) (url string, events *[]string) {
	events = &[]string{}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		for _, e := range fastjson.MustParse(b.String()).GetArray("batch") {
			*events = append(*events, string(e.GetStringBytes("type"))+" "+string(e.GetStringBytes("messageId")))
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, events
}

// TestInputLines: a byte order mark is no part of an event, and a line that is too
// long is counted like any other that is no event. What follows it is read.
func TestInputLines(t *testing.T) {
	campaigns := file(t, "c.yaml", viewCampaign)
	long := view(2, `"x":"`+strings.Repeat("x", 3*maxLine)+`"`)
	events := file(t, "events.jsonl", "\uFEFF"+view(1, "")+long+"\uFEFF"+view(3, "")+"\r\n"+"oops\n"+view(4, "")+strings.TrimSuffix(long, "\n"))
	out := filepath.Join(t.TempDir(), "offers.jsonl")
	text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", events, "--out", out)
	for _, want := range []string{
		"3 events, 1 user, 0 duplicates, 3 rejected (json 1, size 2); the first is line 2: size: the line is longer than 1048576 bytes\n",
		"warning: line 2 is longer than 1048576 bytes and was skipped\nwarning: line 7 is longer",
	} {
		if code != 0 || !strings.Contains(text, want) {
			t.Errorf("backtest: exit %d, %s\nwithout %q", code, text, want)
		}
	}
	if b, err := os.ReadFile(out); err != nil || bytes.Count(b, []byte{'\n'}) != 3 {
		t.Errorf("offers (%v):\n%s", err, b)
	}
	url, sent := gatewayOf(t)
	text, code = ran(t, "replay", "--events", events, "--to", url, "--write-key", "k")
	if code != 0 || !strings.Contains(text, "; 3 lines are not valid events, the first is line 2: size: ") || !strings.Contains(text, "warning: line 7 is longer") {
		t.Errorf("replay: exit %d, %s", code, text)
	}
	if want := []string{"track m1", "track m3", "track m4", "clock "}; !slices.Equal(*sent, want) {
		t.Errorf("sent %q, want %q", *sent, want)
	}
}

// TestReplayRefuses: replay sends what a backtest applies: an unreadable timestamp
// is refused, although the gateway takes it in live operation.
func TestReplayRefuses(t *testing.T) {
	early := strings.Replace(view(1, ""), "2026-01-01", "0001-01-01", 1)
	events := file(t, "events.jsonl", early+strings.Replace(view(2, ""), `02Z"`, `02"`, 1)+view(3, ""))
	url, sent := gatewayOf(t)
	text, code := ran(t, "replay", "--events", events, "--to", url, "--write-key", "k")
	if code != 0 || !strings.Contains(text, "; 1 lines are not valid events, the first is line 2: timestamp: ") {
		t.Errorf("exit %d, %s", code, text)
	}
	if want := []string{"track m1", "track m3", "clock "}; !slices.Equal(*sent, want) {
		t.Errorf("sent %q, want %q", *sent, want)
	}
	r := &replayer{}
	if line, err := r.stamp([]byte(early)); err != nil || !strings.HasPrefix(string(line), `{"logTime":"1677-09-21T`) {
		t.Errorf("log time of an event in the year 1: %s, %v", line, err)
	}
}

// TestNoEvents: a file without any event fails, and the error says why, and what
// the file looks like.
func TestNoEvents(t *testing.T) {
	campaigns := file(t, "c.yaml", viewCampaign)
	one := strings.TrimSuffix(view(1, ""), "\n")
	utf16 := "\xff\xfe"
	for _, c := range one + "\n" {
		utf16 += string([]byte{byte(c), 0})
	}
	for name, tt := range map[string]struct{ text, guess string }{
		"array":       {"[" + one + "]\n", "JSON array"},
		"long array":  {"\uFEFF[" + one + strings.Repeat(","+one, 10_000) + "]\n", "JSON array"},
		"array below": {"[\n  " + one + ",\n  " + one + ",\n]", "JSON array"},
		"batch":       {`{"batch":[` + one + "]}\n", ".batch[]"},
		"pretty":      {"\n" + strings.ReplaceAll(one, ",", ",\n"), "several lines"},
		"csv":         {"event_time,event_type\n2026,view\n", "CSV"},
		"utf16":       {utf16, "UTF-16"},
		"zip":         {"PK\x03\x04....", "unpack"},
		"no time":     {`{"type":"page","userId":"ada"}`, ""},
		"no user":     {"{}\n{}\n", ""},
	} {
		events := file(t, "events", tt.text)
		url, sent := gatewayOf(t)
		for _, args := range [][]string{
			{"backtest", "--campaigns", campaigns, "--events", events},
			{"replay", "--events", events, "--to", url, "--write-key", "k"},
		} {
			text, code := ran(t, args...)
			if code != 1 || !strings.Contains(text, "none of the") && !strings.Contains(text, "the only line is no event") || !strings.Contains(text, "; line ") || !strings.Contains(text, tt.guess) || tt.guess == "" && strings.Contains(text, "look") {
				t.Errorf("%s: %s: exit %d, %s", name, args[0], code, text)
			}
		}
		if len(*sent) > 0 {
			t.Errorf("%s: sent %q", name, *sent)
		}
	}
	array := file(t, "array", "[\n"+one+",\n"+one+"\n]\n")
	if text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", array); code != 1 || !strings.Contains(text, "only 1 of the 4 lines is an event; line 1: ") || !strings.Contains(text, "the file looks like a JSON array") {
		t.Errorf("the last event of an array is one, but the file is none of events: exit %d, %s", code, text)
	}
	torn := file(t, "torn", one[len(one)/2:]+"\n"+one+"\n"+one+"\n")
	if text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", torn); code != 0 || !strings.HasPrefix(text, "2 events, 1 user, 1 duplicate, 1 rejected (json 1); the first is line 1: ") || !strings.Contains(text, "\nwarning: the file looks like CSV") {
		t.Errorf("a file whose first line is torn: exit %d, %s", code, text)
	}
	cut := file(t, "cut", one[:len(one)/2]+"\n{}\n{}\n"+one+"\n"+one+"\n")
	if text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", cut); code != 0 || !strings.HasPrefix(text, "2 events, 1 user, 1 duplicate, 3 rejected (json 1, type 2); the first is line 1: ") {
		t.Errorf("a file whose first line is cut, and of which most lines are refused: exit %d, %s", code, text)
	}
	if text, code := ran(t, "demo", "--events", file(t, "array", "["+one+"]"), "--addr", "127.0.0.1:0"); code != 1 || !strings.Contains(text, "the only line is no event") || !strings.Contains(text, "JSON array") {
		t.Errorf("demo: exit %d, %s", code, text)
	}
	if text, code := ran(t, "backtest", "--campaigns", campaigns, "--events", file(t, "empty", "\n\n")); code != 0 {
		t.Errorf("an empty file: exit %d, %s", code, text)
	}
}

// TestGlance: a large file that begins with no event and looks like something else is
// refused before it has been read, with nothing on standard output.
func TestGlance(t *testing.T) {
	campaigns := file(t, "c.yaml", viewCampaign)
	one := strings.TrimSuffix(view(1, ""), "\n")
	row := "2026-01-01 00:00:00 UTC,view,1,2,shoes,3.5\n"
	big := view(1, `"x":"`+strings.Repeat("x", glanceBytes)+`","batch":1`) + view(2, "")
	for name, tt := range map[string]struct{ text, want string }{
		"csv":                   {"event_time,event_type,product_id\n" + strings.Repeat(row, 3000) + view(1, ""), "none of the first lines is an event; line 1: json: "},
		"array of lines":        {"\n[\n" + strings.Repeat(one+",\n", 3000) + one + "\n]\n", "none of the first lines is an event; line 2: json: "},
		"array in a line":       {"[" + strings.Repeat(one+",", 3000) + one + "]\n", "the file looks like a JSON array: write each event on a line of its own, for example with jq -c '.[]' (none of the first lines is an event; line 1: a JSON array is no event)"},
		"a long event":          {big, ""},
		"an event at the start": {row + one + "\n" + strings.Repeat(row, 3000), "only 1 of the 3002 lines is an event; line 1: "},
		"unknown lines":         {strings.Repeat("x\n", 100_000) + strings.Repeat(one+"\n", 3), ""},
	} {
		for _, args := range [][]string{{}, {"--json"}} {
			var out, errs bytes.Buffer
			code := run(t.Context(), append([]string{"backtest", "--campaigns", campaigns, "--events", file(t, "events", tt.text)}, args...), stdio{strings.NewReader(""), &out, &errs})
			if code == 0 != (tt.want == "") || code == 0 != (out.Len() > 0) || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("%s, %v: exit %d, %s, errors %s", name, args, code, out.String(), errs.String())
			}
		}
	}
}

// TestProgress: what a terminal shows while a file is read.
func TestProgress(t *testing.T) {
	for _, tt := range []struct {
		lines     int
		pos, size int64
		took      time.Duration
		want      string
	}{
		{4096, 0, 0, time.Millisecond, "4096 lines"},
		{4096, 0, 0, 2 * time.Second, "4096 lines  2048/s"},
		{4096, 1, 1000, time.Millisecond, "[....................]   0%  4096 lines"},
		{300, 250, 1000, 3 * time.Second, "[#####...............]  25%  300 lines  100/s  9s left"},
		{300, 999, 1000, 100 * time.Second, "[###################.]  99%  300 lines  3/s  0s left"},
		{300, 1001, 1000, time.Hour, "[####################] 100%  300 lines  0/s  0s left"},
	} {
		if got := progressOf(tt.lines, tt.pos, tt.size, tt.took); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// TestOutputIsInput: a command does not write to a file that it reads.
func TestOutputIsInput(t *testing.T) {
	campaigns, events := file(t, "c.yaml", viewCampaign), file(t, "events.jsonl", view(1, ""))
	soft, hard := filepath.Join(t.TempDir(), "soft"), filepath.Join(t.TempDir(), "hard")
	if err := os.Symlink(events, soft); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(events, hard); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"backtest", "--campaigns", campaigns, "--events", events, "--out", events},
		{"backtest", "--campaigns", campaigns, "--events", events, "--out", soft},
		{"backtest", "--campaigns", campaigns, "--events", hard, "--out", events},
		{"backtest", "--campaigns", campaigns, "--events", events, "--out", campaigns},
		{"backtest", "--campaigns", filepath.Dir(campaigns), "--events", events, "--out", campaigns},
		{"demo", "--events", soft, "--out", events},
		{"demo", "--events", events, "--campaigns", campaigns, "--out", campaigns},
	} {
		if text, code := ran(t, args...); code != 2 || !strings.Contains(text, "same file") {
			t.Errorf("%s: exit %d, %s", args, code, text)
		}
	}
	f, err := os.OpenFile(events, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, tt := range []struct {
		std  stdio
		args []string
	}{
		{stdio{f, &bytes.Buffer{}, &bytes.Buffer{}}, []string{"backtest", "--campaigns", campaigns, "--events", "-", "--out", events}},
		{stdio{strings.NewReader(""), f, &bytes.Buffer{}}, []string{"backtest", "--campaigns", campaigns, "--events", events, "--out", "-"}},
		{stdio{strings.NewReader(""), f, &bytes.Buffer{}}, []string{"import", "--format", "rees46", events}},
	} {
		if code := run(t.Context(), tt.args, tt.std); code != 2 {
			t.Errorf("%s with standard streams: exit %d", tt.args, code)
		}
	}
	for path, want := range map[string]string{events: view(1, ""), campaigns: viewCampaign} {
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("%s is changed: %q, %v", path, b, err)
		}
	}
}

// TestImportMark: a byte order mark before the header is no part of a column's name.
func TestImportMark(t *testing.T) {
	events := file(t, "e.csv", "\uFEFFevent_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"+
		"2020-01-01 00:00:00 UTC,view,1,2,,,3.5,4,5\n")
	if text, code := ran(t, "import", "--format", "rees46", events); code != 0 || !strings.Contains(text, `"messageId":"rees46-1"`) {
		t.Errorf("exit %d, %s", code, text)
	}
}
