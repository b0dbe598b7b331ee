package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
)

// A listGateway keeps the events that it gets, without their messageIds, and those.
type listGateway struct {
	url    string
	events []string
	ids    []string
	answer func(events int) string // the answer to a request; nil: an empty one
}

func newListGateway(t *testing.T) *listGateway {
	g := &listGateway{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		batch := fastjson.MustParse(b.String()).GetArray("batch")
		for _, e := range batch {
			g.ids = append(g.ids, string(e.GetStringBytes("messageId")))
			e.Del("messageId")
			e.Del("type")
			g.events = append(g.events, e.String())
		}
		if g.answer != nil {
			fmt.Fprint(w, g.answer(len(batch)))
		}
	}))
	t.Cleanup(srv.Close)
	g.url = srv.URL
	return g
}

// imported runs the command.
func imported(ctx context.Context, url string, args ...string) (out, errs string, code int) {
	var o, e bytes.Buffer
	args = append([]string{"import", "users", "--to", url, "--server-key", "k", "--rate", "max"}, args...)
	code = run(ctx, args, stdio{strings.NewReader(""), &o, &e})
	return o.String(), e.String(), code
}

// TestImportUsers: what is sent of a list, and what is said of rows that cannot be
// used.
func TestImportUsers(t *testing.T) {
	long := strings.Repeat("x", event.MaxEventBytes)
	for _, tt := range []struct {
		what, name, text string
		args             []string
		events           []string
		errs             []string // the beginnings of lines; {} stands for the file
	}{
		{"kinds of columns", "l.csv", "\uFEFFuserId,tier,points,vip,postcode,empty\r\nada,gold,1,true,01234,\r\nbob,,,,12345,\r\ncyd,silver,2.50e1,false,,\r\n", nil, []string{
			`{"userId":"ada","traits":{"tier":"gold","points":1,"vip":true,"postcode":"01234"}}`,
			`{"userId":"bob","traits":{"postcode":"12345"}}`,
			`{"userId":"cyd","traits":{"tier":"silver","points":2.50e1,"vip":false}}`}, nil},
		{"both ids, and texts that need escapes", "l.csv", "anonymousId,userId,t\na1,,\"x\n\"\"y\"\"\"\na2,u2,é\n", nil, []string{
			`{"anonymousId":"a1","traits":{"t":"x\n\"y\""}}`, `{"userId":"u2","anonymousId":"a2","traits":{"t":"é"}}`}, nil},
		{"another column", "l.csv", "userId,no,t\nx,1,a\ny,,b\n", []string{"--id", "no"}, []string{`{"userId":"1","traits":{"userId":"x","t":"a"}}`},
			[]string{"{}:3:1: the row has no user: fill in no or anonymousId"}},
		{"rows that cannot be used", "l.csv", "t,userId\n1,ada\n1\né,\n,bob\n\nx,\"b\nc\"\n\"é, \xff\",d\n" + long + ",e\n1," + strings.Repeat("u", 513) + "\n", nil,
			[]string{`{"userId":"ada","traits":{"t":"1"}}`}, []string{
				"{}:3:1: the row has 1 cell, the first line has 2: put a cell with a comma in quotes", "{}:4:1: the row has no user", "{}:5:1: the row has no traits",
				`{}:7:3: the user id "b\n`, `{}:9:1: the cell of the column "t" is not UTF-8 text`, "{}:10:1: the event has ", "{}:11:3: the user id has 513 bytes; at most 512 are allowed"}},
		{"a column after letters of several bytes", "l.csv", "t,userId\né€,\"b\nc\"\n", nil, nil, []string{`{}:2:4: the user id`}},
		{"objects", "l.jsonl", "{\"userId\":\"ada\",\"tier\":\"gold\",\"n\":null,\"l\":[1,2.50],\"tier\":\"late\"}\r\n\n{\"userId\":17,\"traits\":{\"a\":\"\\u00e9\"}}\n{\"userId\":\"\",\"anonymousId\":\"z\",\"traits\":1}", nil, []string{
			`{"userId":"ada","traits":{"tier":"gold","n":null,"l":[1,2.50]}}`, `{"userId":17,"traits":{"a":"é"}}`, `{"anonymousId":"z","traits":{"traits":1}}`}, nil},
		{"objects that cannot be used", "l.jsonl", `{"userId":"x","traits":{"a":1},"b":2}` + "\n[1]\n" + `{"é":1,]` + "\n" + `{"userId":true,"a":1}` + "\n" + `{"a":1}` + "\n" + `{"userId":"x"}` + "\n" +
			`{"userId":"x","traits":{}}` + "\n" + `{"userId":"x","a":"` + strings.Repeat("x", maxLine) + `"}` + "\n" + `{"userId":"y","a":1}` + "\n", nil, []string{`{"userId":"y","traits":{"a":1}}`}, []string{
			"{}:1:1: beside `traits` stands \"b\"", "{}:2:1: a row is an object, this is array", "{}:3:8: this is not JSON: ", "{}:4:1: userId is a text or a number, this is true", "{}:5:1: the row has no user",
			"{}:6:1: the row has no traits", "{}:7:1: the row has no traits", "{}:8:1: the line is longer than "}},
		{"no ids", "l.csv", "user,tier\na,b\n", nil, nil, []string{`offerctl import: {}:1:1: there is no column userId and none anonymousId: name the column that has the userIds with --id; the columns are "user", "tier"`}},
		{"no such column", "l.csv", "userId,tier\na,b\n", []string{"--id", "no"}, nil, []string{`offerctl import: {}:1:1: there is no column "no", which --id names: the columns are "userId", "tier"`}},
		{"no traits", "l.csv", "userId,anonymousId\na,b\n", nil, nil, []string{"offerctl import: {}:1:1: there is no column but the user's id"}},
		{"a column twice", "l.csv", "userId,é,é\na,b,c\n", nil, nil, []string{`offerctl import: {}:1:10: the column "é" is there twice`}},
		{"a column without a name", "l.csv", "userId,b,\na,b,c\n", nil, nil, []string{"offerctl import: {}:1:10: column 3 has no name"}},
		{"semicolons", "l.csv", "userId;tier\na;b\n", nil, nil, []string{"offerctl import: {}:1:1: the columns are not separated by commas"}},
		{"a quote within a cell", "l.csv", "userId,t\na,b\nc,é \"d\"\n", nil, nil, []string{"offerctl import: {}:3:5: this is not CSV: "}},
		{"an open quote", "l.csv", "userId,t\na,b\nc,\"d\ne,f\n", nil, nil, []string{"offerctl import: {}:4:"}},
		{"an open quote in a large file", "l.csv", "userId,t\na,\"b\n" + strings.Repeat("c,d\n", maxLine/4), nil, nil, []string{"offerctl import: {}:2:1: the row does not end within 1048576 bytes: close the quote that is left open in it"}},
		{"empty", "l.csv", "", nil, nil, []string{"offerctl import: {}:1:1: the file is empty"}},
		{"no rows", "l.csv", "userId,t\n", nil, nil, []string{"offerctl import: {}: the list has no rows"}},
		{"no objects", "l.jsonl", "\n", nil, nil, []string{"offerctl import: {}: the list has no rows"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			g, name := newListGateway(t), file(t, tt.name, tt.text)
			dry, dryErrs, dryCode := imported(t.Context(), g.url, append(tt.args, "--dry-run", name)...)
			if len(g.events) > 0 {
				t.Errorf("a dry run sent %q", g.events)
			}
			out, errs, code := imported(t.Context(), g.url, append(tt.args, name)...)
			if !slices.Equal(g.events, tt.events) {
				t.Errorf("sent\n%s\nwant\n%s", strings.Join(g.events, "\n"), strings.Join(tt.events, "\n"))
			}
			lines := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
			if want := min(len(tt.errs), 1); code != want || dryCode != want || dryErrs != errs || want > 0 && len(lines) != len(tt.errs) || want == 0 && errs != "" {
				t.Errorf("exit %d, dry %d, output\n%s%serrors\n%sdry\n%s", code, dryCode, out, dry, errs, dryErrs)
			}
			for i := range min(len(lines), len(tt.errs)) {
				if want := strings.ReplaceAll(tt.errs[i], "{}", name); !strings.HasPrefix(lines[i], want) {
					t.Errorf("error\n%.300s\nwant\n%s", lines[i], want)
				}
			}
			if _, err := os.Stat(stateFile(name)); !os.IsNotExist(err) {
				t.Errorf("a file with the progress is left: %v", err)
			}
			for i, e := range tt.events {
				id := regexp.MustCompile(`"type":"identify","messageId":"import-[0-9a-f]{32}",`)
				if i < eventsShown && !strings.Contains(strings.ReplaceAll(id.ReplaceAllString(dry, ""), `\"`, `"`), strings.ReplaceAll(e, `\"`, `"`)) {
					t.Errorf("the dry run does not show %s:\n%s", e, dry)
				}
			}
		})
	}
}

// TestImportRejects: all rows that cannot be used are written to a file, and only some
// are shown.
func TestImportRejects(t *testing.T) {
	g := newListGateway(t)
	name := file(t, "l.csv", "userId,t\na,b\n"+strings.Repeat(",x\n", rejectsShown+5))
	_, errs, code := imported(t.Context(), g.url, name)
	if code != 1 || strings.Count(errs, "\n") != rejectsShown {
		t.Errorf("exit %d, errors\n%s", code, errs)
	}
	rejects := filepath.Join(t.TempDir(), "rejects")
	out, _, code := imported(t.Context(), g.url, "--rejects", rejects, name)
	b, err := os.ReadFile(rejects)
	if code != 1 || err != nil || bytes.Count(b, []byte("\n")) != rejectsShown+5 || !bytes.HasPrefix(b, []byte(name+":3:1: the row has no user")) || !strings.Contains(out, "1 event sent in ") || !strings.Contains(out, "; 25 rows cannot be used\n") {
		t.Errorf("exit %d, %v, rejects\n%s, output\n%s", code, err, b, out)
	}
	if text, code := ran(t, "import", "users", "--dry-run", name, "--rejects", name); code != 2 || !strings.Contains(text, "same file") {
		t.Errorf("exit %d, %s", code, text)
	}
}

// TestImportArguments: what is wrong with the command line.
func TestImportArguments(t *testing.T) {
	for args, want := range map[string]string{
		"":                             "0 lists given: name exactly one",
		"a.csv b.csv":                  "2 lists given: name exactly one",
		"a.csv":                        "--server-key or --write-key is required",
		"- --dry-run":                  "a list is read twice",
		"a.xlsx --dry-run":             "a.xlsx is neither a .csv nor a .jsonl",
		"a.csv --write-key k --rate 0": `--rate "0" is neither`,
		"a.csv --dry-run --id=":        `--id "" is not`,
	} {
		if text, code := ran(t, append([]string{"import", "users"}, strings.Fields(args)...)...); code != 2 || !strings.Contains(text, want) {
			t.Errorf("import users %s: exit %d, %s", args, code, text)
		}
	}
}

// TestImportIDs: the same list again yields the same events, also compressed; another
// list yields other events for all its rows, also for those that are the same, because
// a list between may have said something else of their users.
func TestImportIDs(t *testing.T) {
	const jan, feb = "userId,tier\nada,gold\nbob,gold\n", "userId,tier\nada,gold\nbob,silver\n"
	g := newListGateway(t)
	send := func(name, text string) []string {
		t.Helper()
		g.ids = nil
		if out, errs, code := imported(t.Context(), g.url, file(t, name, text)); code != 0 || len(g.ids) != 2 || g.ids[0] == g.ids[1] {
			t.Fatalf("exit %d, ids %q, %s%s", code, g.ids, out, errs)
		}
		return g.ids
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(jan))
	z.Close()
	first := send("jan.csv", jan)
	for name, text := range map[string]string{"again.csv": jan, "zipped.csv.gz": zipped.String()} {
		if ids := send(name, text); !slices.Equal(ids, first) {
			t.Errorf("%s: ids %q, want %q", name, ids, first)
		}
	}
	for what, text := range map[string]string{"another row": feb, "an empty line at the end": jan + "\n"} {
		for _, id := range send("other.csv", text) {
			if slices.Contains(first, id) {
				t.Errorf("%s: id %s is that of an event of another list", what, id)
			}
		}
	}
}

// manyUsers is a list with rows from first to last, on the lines one above.
func manyUsers(n int) string {
	var b strings.Builder
	b.WriteString("userId,n\n")
	for i := range n {
		fmt.Fprintf(&b, "u%d,%d\n", i, i)
	}
	return b.String()
}

// TestImportResumes: an import that is interrupted goes on where it was, with the
// events that it would have sent; a request that the gateway may or may not have taken
// is sent again as the same events. It begins anew for another gateway, with another
// --id, and for another content.
func TestImportResumes(t *testing.T) {
	const n = 5*batchEvents + 7
	whole := newListGateway(t)
	if out, errs, code := imported(t.Context(), whole.url, file(t, "l.csv", manyUsers(n))); code != 0 || len(whole.ids) != n {
		t.Fatalf("exit %d, %d events, %s%s", code, len(whole.ids), out, errs)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	g, name := newListGateway(t), file(t, "l.csv", manyUsers(n))
	requests := 0
	g.answer = func(int) string {
		if requests++; requests == 3 { // accepted, and the answer is lost
			interrupt()
			<-ctx.Done()
			panic(http.ErrAbortHandler)
		}
		return ""
	}
	out, errs, code := imported(ctx, g.url, name)
	if sent := fmt.Sprintf("%s: sent up to line %d of %d; the same command goes on from there\noffer", name, 1+2*batchEvents, 1+n); code != 1 || len(g.ids) != 3*batchEvents || !strings.HasPrefix(errs, sent) || !strings.HasSuffix(errs, "interrupted\n") {
		t.Fatalf("exit %d, %d events, %s%s", code, len(g.ids), out, errs)
	}
	kept, err := os.ReadFile(stateFile(name))
	if err != nil {
		t.Fatal(err)
	}
	again := func(what, url string, args ...string) (out string) {
		t.Helper()
		if err := os.WriteFile(stateFile(name), kept, 0o644); err != nil {
			t.Fatal(err)
		}
		g.ids, g.events = nil, nil
		out, errs, code := imported(t.Context(), url, append(args, name)...)
		if code != 0 {
			t.Fatalf("%s: exit %d, %s%s", what, code, out, errs)
		}
		if _, err := os.Stat(stateFile(name)); !os.IsNotExist(err) {
			t.Errorf("%s: the progress is left: %v", what, err)
		}
		return out
	}
	out = again("the same command", g.url)
	if !slices.Equal(g.ids, whole.ids[2*batchEvents:]) || !strings.Contains(out, fmt.Sprintf("an earlier run sent it up to line %d: going on from there\n", 1+2*batchEvents)) {
		t.Errorf("the same command sends %d events, want %d\n%s", len(g.ids), n-2*batchEvents, out)
	}
	other := newListGateway(t)
	if out = again("another gateway", other.url); !slices.Equal(other.ids, whole.ids) || !strings.Contains(out, "line 129 to "+g.url+": this one begins at the first line\n") {
		t.Errorf("another gateway gets %d events\n%s", len(other.ids), out)
	}
	if out = again("another id", g.url, "--id", "n"); len(g.ids) != n || !strings.Contains(out, " with --id userId: this one begins") {
		t.Errorf("another --id sends %d events\n%s", len(g.ids), out)
	}
	put(t, name, manyUsers(n)+"u,1\n")
	if out = again("another content", g.url); len(g.ids) != n+1 || !strings.Contains(out, " when it was another file: this one begins") {
		t.Errorf("another content sends %d events\n%s", len(g.ids), out)
	}
	put(t, stateFile(name), "{")
	if _, errs, code := imported(t.Context(), g.url, name); code != 1 || !strings.Contains(errs, stateFile(name)+" is not what an import has written: remove it") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// TestImportRefused: what the gateway refuses ends the import, and is not counted as
// sent.
func TestImportRefused(t *testing.T) {
	for answer, want := range map[string]string{
		`{"accepted":3,"refused":1}`:            "the gateway refused 1 events and has made them dead letters",
		`{"accepted":2,"refused":1,"denied":1}`: "the gateway refused 1 events that this key may not send",
	} {
		g, name := newListGateway(t), file(t, "l.csv", manyUsers(2*batchEvents))
		g.answer = func(int) string { return answer }
		_, errs, code := imported(t.Context(), g.url, name)
		if code != 1 || len(g.ids) != batchEvents || !strings.Contains(errs, want) || !strings.Contains(errs, ": sent up to line 0 of ") {
			t.Errorf("%s: exit %d, %d events, %s", answer, code, len(g.ids), errs)
		}
	}
	name := filepath.Join(t.TempDir(), "none", "l.csv")
	if _, errs, code := imported(t.Context(), "http://127.0.0.1:1", name); code != 1 || !strings.Contains(errs, "no such file") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// TestImportChanges: a file that changes while it is sent is noticed.
func TestImportChanges(t *testing.T) {
	g, name := newListGateway(t), file(t, "l.csv", manyUsers(batchEvents+1))
	list, err := newUserList(name, userColumn, stdio{err: &bytes.Buffer{}})
	if err == nil {
		err = list.survey(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	put(t, name, strings.Replace(manyUsers(batchEvents+1), "u7,7", "u7,8", 1))
	if err = list.each(t.Context(), nil, func(listedUser) error { return nil }); err != errListChanged {
		t.Errorf("%v; %d events", err, len(g.ids))
	}
}

// TestPace: how events are spread over time, after a gateway could take none for a
// while too.
func TestPace(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := pace{rate: 100}
	for i, step := range []struct{ at, want time.Duration }{
		{0, 0}, {0, 500 * time.Millisecond}, {600 * time.Millisecond, 400 * time.Millisecond}, {1500 * time.Millisecond, 0}, // on time again
		{time.Minute, 0}, {time.Minute, 0}, {time.Minute, 0}, {time.Minute, 500 * time.Millisecond}, // a second is made up for, not a minute
	} {
		if wait := p.wait(start.Add(step.at), 50); wait != step.want {
			t.Errorf("step %d at %s: waits %s, want %s", i, step.at, wait, step.want)
		}
	}
	if wait := (&pace{}).wait(start, 50); wait != 0 {
		t.Errorf("max waits %s", wait)
	}
}

// TestImportLive sends a list twice to a real gateway, and another one: the traits are
// those of the newest list, and the same list counts once.
func TestImportLive(t *testing.T) {
	t.Parallel()
	set := file(t, "c.yaml", `campaigns: {gold: {on: identify, where: event.traits.tier == "gold", offer: {channel: web, data: {points: "{{ profile.points }}"}}}}`)
	def, err := loadSet("", set)
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", partitions: 2, addr: "127.0.0.1:0", writeKey: "KEY", serverKey: "k", set: def, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	first := "userId,tier,points,vip\nada,gold,7,true\nbob,silver,8,\n"
	for _, step := range []struct {
		text   string
		ada    string
		offers int
	}{
		{first, `{"points":7,"tier":"gold","vip":true}`, 1},
		{first, `{"points":7,"tier":"gold","vip":true}`, 1},
		{"userId,tier,points\nada,gold,9\nbob,silver,8\n", `{"points":9,"tier":"gold","vip":true}`, 2},
	} {
		if out, errs, code := imported(t.Context(), "http://"+n.addr, file(t, "l.csv", step.text)); code != 0 || !strings.Contains(out, "2 events sent in ") {
			t.Fatalf("exit %d, %s%s", code, out, errs)
		}
		if err := n.caughtUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		var u struct{ Traits json.RawMessage }
		if err := json.Unmarshal([]byte(offerctl(t, "user", "ada", "--nats", n.natsURL())), &u); err != nil {
			t.Fatal(err)
		}
		var traits bytes.Buffer
		json.Compact(&traits, u.Traits)
		if traits.String() != step.ada {
			t.Errorf("traits %s, want %s", traits.String(), step.ada)
		}
		st, err := n.conn.JS.Stream(t.Context(), n.conn.Names.OffersStream())
		if err != nil {
			t.Fatal(err)
		}
		if got := int(st.CachedInfo().State.Msgs); got != step.offers {
			t.Errorf("%d offers, want %d", got, step.offers)
		}
	}
}
