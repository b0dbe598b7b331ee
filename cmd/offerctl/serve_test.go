package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A transcript is the output of a command that runs. await returns when it has a text.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed when there is more
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	if s.more != nil {
		close(s.more)
	}
	s.more = nil
	return len(b), nil
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await returns the first match, or fails when ended is closed.
func (s *transcript) await(t *testing.T, match string, ended <-chan struct{}) []string {
	t.Helper()
	for re := regexp.MustCompile(match); ; {
		s.mu.Lock()
		found := re.FindStringSubmatch(s.text.String())
		if s.more == nil {
			s.more = make(chan struct{})
		}
		more := s.more
		s.mu.Unlock()
		if found != nil {
			return found
		}
		select {
		case <-more:
		case <-ended:
			t.Fatalf("serve ended without %q:\n%s", match, s)
		}
	}
}

// serving runs serve with what it needs, calls use with the URL of NATS when it is
// ready, ends it as Ctrl-C does, and returns what it printed, without its log.
func serving(t *testing.T, dir string, args []string, use func(url string, out *transcript, ended <-chan struct{})) (text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, errs, ended, code := &transcript{}, &transcript{}, make(chan struct{}), 0
	args = append([]string{"serve", "--dir", dir, "--nats-addr", "127.0.0.1:0", "--addr", "127.0.0.1:0", "--metrics-addr", "", "--write-key", "k", "--partitions", "2"}, args...)
	go func() {
		defer close(ended)
		code = run(ctx, args, stdio{strings.NewReader(""), out, errs})
	}()
	url := out.await(t, `offers\.> on (nats://\S+)\n`, ended)[1]
	use(url, out, ended)
	cancel()
	if <-ended; code != 0 {
		t.Errorf("exit %d, %s", code, errs)
	}
	return out.String()
}

const oneCampaign = `campaigns: {one: {on: View, offer: {channel: web, data: {n: %q}}}}`

// hashOf is the hash of a set.
func hashOf(t *testing.T, path string) string {
	t.Helper()
	def, err := loadSet("", path)
	if err != nil {
		t.Fatal(err)
	}
	return def.Hash()
}

// TestServeKeeps: serve makes its files live at the first start. Later it keeps what
// is live, and says how the files become live, which they do with that command, and
// with --watch. Nobody stops a watch but the end of serve.
func TestServeKeeps(t *testing.T) {
	t.Parallel()
	dir, files, other := t.TempDir(), t.TempDir(), t.TempDir()
	name := filepath.Join(files, "a.yaml")
	put(t, name, fmt.Sprintf(oneCampaign, "files"))
	put(t, filepath.Join(other, "a.yaml"), fmt.Sprintf(oneCampaign, "applied"))
	ours, theirs := hashOf(t, files), hashOf(t, other)
	live := func(url, want string) {
		t.Helper()
		if out := offerctl(t, "apply", map[string]string{ours: files, theirs: other}[want], "--yes", "--wait", "0", "--nats", url); !strings.Contains(out, "set "+want+" is live already") {
			t.Errorf("another set than %s was live: %s", want, out)
		}
	}
	quiet := func(what, text string) {
		t.Helper()
		if strings.Contains(text, "set ") {
			t.Errorf("%s: serve says\n%s", what, text)
		}
	}
	quiet("the first start", serving(t, dir, []string{"--campaigns", files}, func(url string, _ *transcript, _ <-chan struct{}) { live(url, ours) }))
	quiet("the same files", serving(t, dir, []string{"--campaigns", files}, func(url string, _ *transcript, _ <-chan struct{}) {
		live(url, ours)
		offerctl(t, "apply", other, "--yes", "--nats", url)
	}))
	var command string
	text := serving(t, dir, []string{"--campaigns", files}, func(url string, out *transcript, _ <-chan struct{}) {
		live(url, theirs)
		command = fmt.Sprintf("offerctl apply %s --nats %s", files, url)
	})
	for _, want := range []string{"set " + theirs + " is live and stays live; the files of " + files + " are another set, " + ours + ", which is not live:\n", "  ~ campaign one: offer\n", "to make them live: " + command + "\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("serve says\n%s\nwithout\n%s", text, want)
		}
	}
	quiet("no files", serving(t, dir, nil, func(url string, _ *transcript, _ <-chan struct{}) { live(url, theirs) }))
	text = serving(t, dir, []string{"--clock", "event"}, func(url string, _ *transcript, _ <-chan struct{}) { live(url, theirs) })
	if !strings.Contains(text, "the shipped campaigns with --clock event are another set, ") || !strings.Contains(text, "to make them live: offerctl new demo campaigns, and offerctl apply campaigns --clock event --nats nats://") {
		t.Errorf("serve --clock says\n%s", text)
	}
	serving(t, dir, []string{"--campaigns", files, "--watch"}, func(url string, out *transcript, ended <-chan struct{}) {
		live(url, ours)
		put(t, name, fmt.Sprintf(oneCampaign, "changed"))
		out.await(t, "set "+hashOf(t, files)+" is live\nin force in all 2 partitions\n", ended)
	})
	if text, code := ran(t, "serve", "--dir", dir, "--watch"); code != 2 || !strings.Contains(text, "--watch needs --campaigns") {
		t.Errorf("exit %d, %s", code, text)
	}
}

// TestServeWatch changes files between the looks of a watch.
func TestServeWatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Now().Add(-time.Hour)
	change := func(name, text string) { // at a time of its own, also where times of files are coarse
		put(t, filepath.Join(dir, name), text)
		now = now.Add(time.Minute)
		if err := os.Chtimes(filepath.Join(dir, name), now, now); err != nil {
			t.Fatal(err)
		}
	}
	change("a.yaml", fmt.Sprintf(oneCampaign, "1"))
	var out, errs bytes.Buffer
	w := &setWatch{std: stdio{strings.NewReader(""), &out, &errs}, path: dir}
	def, err := w.load()
	if err != nil {
		t.Fatal(err)
	}
	n, err := startNode(t.Context(), nodeOptions{dir: t.TempDir(), natsAddr: "", partitions: 2, addr: "127.0.0.1:0", writeKey: "KEY", set: def, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.stop()
	const tables = "facts: {stores: {file: below/s.csv}}\ncampaigns: {two: {on: View, offer: {channel: web, data: {city: '{{ facts.stores[event.properties.store].city }}'}}}}\n"
	if err := os.Mkdir(filepath.Join(dir, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		what   string
		change func()
		out    []string // in this order
		errs   string   // "": none
		live   bool     // the files are live then
	}{
		{"nothing", func() {}, nil, "", true},
		{"a campaign", func() { change("a.yaml", fmt.Sprintf(oneCampaign, "2")) },
			[]string{"changed: " + dir + "/a.yaml\n", "  ~ campaign one: offer\n", " is live\n", "in force in all 2 partitions\n"}, "", true},
		{"a mistake", func() { change("a.yaml", fmt.Sprintf(oneCampaign, "2]")+"]") }, []string{"changed: "}, "/a.yaml:1:", false},
		{"is shown once", func() {}, nil, "", false},
		{"another file while it is there", func() { change("b.yaml", tables) }, []string{"changed: " + dir + "\n"}, "/a.yaml:1:", false},
		{"a table is missing", func() { change("a.yaml", fmt.Sprintf(oneCampaign, "3")) }, []string{"changed: " + dir + "/a.yaml\n"}, "/b.yaml:1:24: open ", false},
		{"and comes", func() { change("below/s.csv", "key,city\n7,Seoul\n") },
			[]string{"changed: " + dir + "/below/s.csv\n", "  + fact stores\n", "  ~ campaign one", "  + campaign two\n", " is live\n", "1 row loaded into all 2 partitions\n"}, "", true},
		{"another row", func() { change("below/s.csv", "key,city\n7,Seoul\n8,Busan\n") },
			[]string{"changed: ", " is live already\n", "2 rows loaded into all 2 partitions\n"}, "", true},
		{"the files are gone", func() { os.Rename(dir, dir+".gone") }, []string{"changed: "}, "no such file", false},
		{"and come again", func() { os.Rename(dir+".gone", dir) }, []string{"changed: ", " is live already\n"}, "", true},
	} {
		out.Reset()
		errs.Reset()
		step.change()
		w.tick(t.Context(), n.conn)
		got := out.String()
		for _, want := range step.out {
			_, after, found := strings.Cut(got, want)
			if !found {
				t.Errorf("%s: no %q in\n%s", step.what, want, out.String())
			}
			got = after
		}
		if len(step.out) == 0 && out.Len() > 0 {
			t.Errorf("%s:\n%s", step.what, out.String())
		}
		if e := errs.String(); !strings.Contains(e, step.errs) || (step.errs == "") != (e == "") || e != "" && !strings.HasSuffix(e, "\nthese files are not made live\n") {
			t.Errorf("%s: errors\n%s\nwant %s", step.what, e, step.errs)
		}
		live, _, err := liveSet(t.Context(), n.conn)
		if err != nil {
			t.Fatal(err)
		}
		if step.live && live != hashOf(t, dir) {
			t.Errorf("%s: %s is live, not the files", step.what, live)
		}
		if !step.live && live != def.Hash() {
			t.Errorf("%s: %s became live", step.what, live)
		}
		if step.live {
			if def, err = loadSet("", dir); err != nil {
				t.Fatal(err)
			}
		}
	}

	// What cannot be made live is tried again.
	out.Reset()
	errs.Reset()
	change("a.yaml", fmt.Sprintf(oneCampaign, "4"))
	none, cancel := context.WithTimeout(t.Context(), 0)
	<-none.Done()
	cancel()
	w.tick(none, n.conn)
	if live, _, _ := liveSet(t.Context(), n.conn); live != def.Hash() || errs.Len() > 0 {
		t.Errorf("%s is live, errors %s", live, errs.String())
	}
	w.tick(t.Context(), n.conn)
	if live, _, _ := liveSet(t.Context(), n.conn); live != hashOf(t, dir) || errs.Len() > 0 {
		t.Errorf("%s is live, errors %s", live, errs.String())
	}
}
