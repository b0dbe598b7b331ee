package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/broker"
	"offerstream/pipeline/broker/embedded"
)

// The tests in this file compare README.md with what the programs do.

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readmeBlock returns the README's code block in a language that begins with a
// text.
func readmeBlock(t *testing.T, language, begins string) string {
	t.Helper()
	_, rest, ok := strings.Cut(readme(t), "```"+language+"\n"+begins)
	text, _, end := strings.Cut(rest, "```\n")
	if !ok || !end {
		t.Fatalf("README.md has no block of %s that begins with %q", language, begins)
	}
	return begins + text
}

func writeFile(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadmeFiles(t *testing.T) {
	def, err := config.LoadCampaigns(writeFile(t, "bags.yaml", readmeBlock(t, "yaml", "version: 1")))
	if err != nil {
		t.Fatal(err)
	}
	if b, problems := pipeline.NewBacktest(def); b == nil {
		t.Error(problems)
	}
	path := writeFile(t, "worker.yaml", readmeBlock(t, "yaml", "# worker.yaml"))
	if _, err := config.Worker([]string{"--config", path}, nil, io.Discard); err != nil {
		t.Error(err)
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(readme(t), -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
			t.Error(err)
		}
	}
	for _, m := range regexp.MustCompile(`[ \x60]((?:config|deploy|pipeline|state)/[\w./-]*\w)`).FindAllStringSubmatch(readme(t), -1) {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
			t.Errorf("README.md names a file: %v", err)
		}
	}
}

// helpOf returns the --help of a program, or of a command of offerctl.
func helpOf(t *testing.T, program, command string) string {
	t.Helper()
	var out, errs bytes.Buffer
	var err error
	switch program {
	case "gateway":
		_, err = config.Gateway([]string{"--help"}, nil, &out)
	case "worker":
		_, err = config.Worker([]string{"--help"}, nil, &out)
	default:
		if code := run(t.Context(), []string{command, "--help"}, stdio{strings.NewReader(""), &out, &errs}); code != 0 {
			t.Errorf("offerctl %s --help: exit %d: %s", command, code, errs.String())
		}
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		t.Error(err)
	}
	return out.String()
}

// TestReadmeFlags checks that each flag that the README shows with a command is
// in that command's help, and that each other flag and variable is in some help.
func TestReadmeFlags(t *testing.T) {
	flags := regexp.MustCompile(`--[a-z][a-z-]*|OFFERSTREAM_[A-Z_]+`)
	words := regexp.MustCompile("`[^`\n]+`|(?m)^(?:[A-Z_]+=\\S+ )?(?:go run |offerctl |bin/|worker |gateway ).*$")
	command := regexp.MustCompile(`\b(offerctl ([a-z][\w-]*)|worker|gateway) `)
	all := helpOf(t, "gateway", "") + helpOf(t, "worker", "")
	for _, c := range commands {
		all += helpOf(t, "offerctl", c.name)
	}
	has := func(text, flag string) bool {
		return regexp.MustCompile(regexp.QuoteMeta(flag) + `\b`).MatchString(text)
	}
	seen := 0
	for _, text := range words.FindAllString(readme(t), -1) {
		where := all
		if m := command.FindStringSubmatch(text + " "); m != nil && m[2] == "" {
			where = helpOf(t, m[1], "")
		} else if m != nil {
			where = helpOf(t, "offerctl", m[2])
		}
		for _, f := range flags.FindAllString(text, -1) {
			if seen++; f != "--help" && !has(where, f) {
				t.Errorf("README.md shows %s in %q: there is no such flag", f, text)
			}
		}
	}
	if seen < 20 {
		t.Errorf("found only %d flags in README.md: does this test still read it?", seen)
	}
}

// TestReadmeNames checks that the README's metrics exist, and that it names all
// dependencies.
func TestReadmeNames(t *testing.T) {
	text := readme(t)
	for _, m := range regexp.MustCompile(`offerstream_(gateway|worker)_(\w+)`).FindAllStringSubmatch(text, -1) {
		src, err := os.ReadFile(map[string]string{"gateway": "../../pipeline/ingest/metrics.go", "worker": "../../pipeline/worker/metrics.go"}[m[1]])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(src, []byte(`"`+m[2]+`"`)) && !bytes.Contains(src, []byte(`"`+m[0]+`"`)) {
			t.Errorf("README.md names %s: there is no such metric", m[0])
		}
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1) {
		if !strings.Contains(text, "| `"+m[1]+"` |") {
			t.Errorf("README.md has no reason for the dependency %s", m[1])
		}
	}
}

// readmeOffer returns the README's offer as a message.
func readmeOffer(t *testing.T) *nats.Msg {
	t.Helper()
	head, data, ok := strings.Cut(readmeBlock(t, "text", "offers."), "\n\n")
	if !ok {
		t.Fatal("the README's offer has no empty line between headers and JSON")
	}
	lines := strings.Split(head, "\n")
	m := &nats.Msg{Subject: lines[0], Header: nats.Header{}, Data: []byte(strings.NewReplacer("\n ", "", "\n", "").Replace(data))}
	for _, l := range lines[1:] {
		name, value, ok := strings.Cut(l, ": ")
		if !ok {
			t.Fatalf("%q is not a header", l)
		}
		m.Header[name] = []string{value}
	}
	return m
}

// TestReadmeOffer sends the README's event to a gateway four times, and
// compares the offer with the README's.
func TestReadmeOffer(t *testing.T) {
	want := readmeOffer(t)
	set, err := loadOrShipped("", "")
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "127.0.0.1:0", addr: "127.0.0.1:0", writeKey: "KEY", set: set,
		log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	sub, err := n.conn.NC.SubscribeSync("offers.>")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`curl -u KEY: http://127.0.0.1:8080/v1/track -d '(.*)'`).FindStringSubmatch(readme(t))
	if m == nil {
		t.Fatal("README.md does not show how to send an event with curl")
	}
	for i := range 4 {
		event := strings.Replace(m[1], "b1", fmt.Sprint("b", i), 1) // otherwise it would be the same event, which counts once
		postEvent(t, "http://"+n.addr+"/v1/track", event)
	}
	_, batch, _ := strings.Cut(readme(t), "/v1/batch -d '")
	batch, _, _ = strings.Cut(batch, "'")
	postEvent(t, "http://"+n.addr+"/v1/batch", batch)
	got, err := sub.NextMsg(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := headerNames(got), headerNames(want); !slices.Equal(a, b) {
		t.Errorf("an offer has the headers\n%q\nREADME.md shows\n%q", a, b)
	}
	if a, b := lasting(t, got), lasting(t, want); a != b {
		t.Errorf("an offer is\n%s\nREADME.md shows\n%s", a, b)
	}
	if got.Subject != want.Subject {
		t.Errorf("an offer goes out on %s, README.md shows %s", got.Subject, want.Subject)
	}
}

func postEvent(t *testing.T, url, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("KEY", "")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", body, resp.Status, answer)
	}
}

func headerNames(m *nats.Msg) (names []string) {
	for name := range m.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// lasting returns the part of an offer that is the same in every run. It checks
// that the offer's headers agree with its JSON.
func lasting(t *testing.T, m *nats.Msg) string {
	t.Helper()
	var o pipeline.Offer
	dec := json.NewDecoder(bytes.NewReader(m.Data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		t.Fatalf("%v: %s", err, m.Data)
	}
	if _, err := broker.ParsePosition(m.Header); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"ce-id": o.ID, "ce-time": o.Time, "ce-subject": o.User, "ce-campaign": o.Campaign, "ce-expirytime": o.Expires} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("header %s is %q, the JSON has %q", name, got, want)
		}
	}
	o.ID, o.Event, o.Time, o.Expires = "", "", "", ""
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestReadmeSubscriber builds the README's subscriber and delivers to it an offer
// twice, the same offer with another number, and one after a gap.
func TestReadmeSubscriber(t *testing.T) {
	ns, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Port: -1, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := broker.Connect(ctx, broker.Options{URL: ns.ClientURL(), Client: "test", Partitions: 1, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, o := range []struct{ id, n string }{{"a", "1"}, {"a", "1"}, {"a", "2"}, {"b", "3"}, {"c", "5"}} {
		m := readmeOffer(t)
		m.Header["ce-id"], m.Header["Offerstream-N"] = []string{o.id}, []string{o.n}
		delete(m.Header, "Nats-Expected-Last-Subject-Sequence")
		if _, err := conn.JS.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(ctx, readmeSubscriber(t), ns.ClientURL())
	cmd.Dir = t.TempDir()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var warned bytes.Buffer
	cmd.Stderr = &warned
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var sent []string
	for lines := bufio.NewScanner(out); len(sent) < 3 && lines.Scan(); {
		sent = append(sent, strings.Join(strings.Fields(lines.Text())[:2], " "))
	}
	awaitDrained(t, ctx, conn)
	cmd.Process.Kill()
	cmd.Wait()
	if want := []string{"send a", "send b", "send c"}; !slices.Equal(sent, want) {
		t.Errorf("the subscriber says %q, want %q\n%s", sent, want, warned.String())
	}
	if w := warned.String(); strings.Count(w, "\n") != 1 || !strings.Contains(w, "5 follows 3") {
		t.Errorf("the subscriber warns %q, want one line: 5 follows 3", w)
	}
}

// awaitDrained waits until the subscriber has acknowledged everything.
func awaitDrained(t *testing.T, ctx context.Context, conn *broker.Conn) {
	t.Helper()
	for {
		c, err := conn.JS.Consumer(ctx, conn.Names.OffersStream(), "web")
		var info *jetstream.ConsumerInfo
		if err == nil {
			info, err = c.Info(ctx)
		}
		if errors.Is(err, jetstream.ErrConsumerNotFound) && ctx.Err() == nil {
			continue // it has not begun yet
		}
		var last uint64 // a consumer that has just begun may not know yet what is pending
		if err == nil {
			last, err = lastOffer(ctx, conn, "offers.web.>")
		}
		if err != nil {
			t.Fatalf("the subscriber's durable consumer: %v", err)
		}
		if info.NumPending == 0 && info.NumAckPending == 0 && info.Delivered.Stream >= last {
			return
		}
	}
}

// lastOffer is the sequence of the newest offer on a subject, 0 if there is none.
func lastOffer(ctx context.Context, conn *broker.Conn, subject string) (uint64, error) {
	st, err := conn.JS.Stream(ctx, conn.Names.OffersStream())
	if err != nil {
		return 0, err
	}
	m, err := st.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}
