package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"offerstream/pipeline"
)

// offerctl runs a command in this process and returns its standard output.
func offerctl(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, stdio{strings.NewReader(""), &out, &errs}); code != 0 {
		t.Fatalf("offerctl %s: exit %d\n%s%s", strings.Join(args, " "), code, out.String(), errs.String())
	}
	return out.String()
}

// sortedLines returns a file's lines, sorted.
func sortedLines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	slices.Sort(lines)
	return lines
}

// TestDemoIsBacktest sends events through gateway, JetStream and worker. The
// offers, including their ids, must be the same as those of a backtest.
func TestDemoIsBacktest(t *testing.T) {
	first := filepath.Join(t.TempDir(), "first")
	offerctl(t, "new", "demo", first)
	for name, c := range map[string]struct {
		events, campaigns string
		says              []string // to the demo, which starts with the shipped campaigns
	}{
		"simulated": {shopping(t, 4000), first, nil},
		"real":      {rees46File(t), "../../deploy/campaigns", []string{"--campaigns", "../../deploy/campaigns"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.events == "" {
				t.Skip("../shared/data/rees46/events.csv.gz, beside the repository, is not there")
			}
			dir := t.TempDir()
			want, got := filepath.Join(dir, "want.jsonl"), filepath.Join(dir, "got.jsonl")
			offerctl(t, "backtest", "--campaigns", c.campaigns, "--events", c.events, "--out", want)
			out := offerctl(t, append([]string{"demo", "--events", c.events, "--json", "--out", got, "--addr", "127.0.0.1:0"}, c.says...)...)
			if a, b := sortedLines(t, got), sortedLines(t, want); !slices.Equal(a, b) {
				t.Errorf("%d offers went out, the backtest has %d, or others", len(a), len(b))
			}
			sane(t, out)
		})
	}
}

// sane reads the last line of --json and checks its figures.
func sane(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var s demoSummary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s.Accepted == 0 || s.Accepted != s.Applied || s.Offers == 0 || s.Duplicate+s.Missing+s.Different+int(s.Rejected) != 0 {
		t.Errorf("%+v", s)
	}
	t.Logf("%+v", s)
}

// TestDemo lets the shoppers shop for a moment.
func TestDemo(t *testing.T) {
	sane(t, offerctl(t, "demo", "--for", "2s", "--json", "--seed", "1", "--addr", "127.0.0.1:0"))
}

// rees46File returns a file with real events as JSON lines, or "" if they are
// not available.
func rees46File(t *testing.T) string {
	t.Helper()
	csv := "../../../shared/data/rees46/events.csv.gz"
	if _, err := os.Stat(csv); err != nil {
		return ""
	}
	path := filepath.Join(t.TempDir(), "rees46.jsonl")
	if err := os.WriteFile(path, []byte(offerctl(t, "import", "--format", "rees46", csv)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFirstOffers: within the first five seconds of a demo, whatever its seed, many
// offers of several campaigns go out, also to users with a userId, whose offer the
// demo offers to explain. Within twenty seconds, hotels and jobs say what others have done.
func TestFirstOffers(t *testing.T) {
	def, err := loadOrShipped("", "")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		b, problems := pipeline.NewBacktest(def)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		shop, start := newShop(seed), time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
		shop.meets = newMeeting(seed)
		offers, known, campaigns := 0, -1, []string{}
		for i := range 20 * demoRate {
			if i == 5*demoRate && (offers < 20 || len(campaigns) < 3 || !slices.Contains(campaigns, "enuri-watch") || known < 0 || known > 2*demoRate) {
				t.Errorf("seed %d: %d offers of %q, the first to a user with a userId after %d events", seed, offers, campaigns, known)
			}
			line := shop.next(start.Add(time.Duration(i) * time.Second / demoRate))
			if err := b.Line(line, func(o *pipeline.Offer) {
				offers++
				if known < 0 && !o.Anon {
					known = i
				}
				if id, _, _ := strings.Cut(o.Campaign, "/"); !slices.Contains(campaigns, id) {
					campaigns = append(campaigns, id)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Contains(campaigns, "agoda-last") || !slices.Contains(campaigns, "jobkorea-views") {
			t.Errorf("seed %d: after twenty seconds there are offers of %q", seed, campaigns)
		}
	}
}

// TestDemoSays: the demo prints why campaigns have not fired, and once, which command
// explains an offer.
func TestDemoSays(t *testing.T) {
	out := offerctl(t, "demo", "--for", "2s", "--seed", "1", "--addr", "127.0.0.1:0")
	says := regexp.MustCompile("  +").ReplaceAllString(out, "  ") // columns are as wide as the campaigns that come need
	for _, want := range []string{"\ncampaigns that have not fired:\n", "  amazon-browse  no visit has ended: that takes half an hour without an event\n", "  11st-cart  waits 1h, unless Order Completed comes: "} {
		if !strings.Contains(says, want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
	_, after, _ := strings.Cut(out, "\n  offerctl explain ")
	user, url, _ := strings.Cut(after, " --nats ")
	if strings.Count(out, "offerctl explain") != 1 || !strings.HasPrefix(user, "shopper-") || !strings.HasPrefix(url, "nats://127.0.0.1:") || !strings.Contains(out, " "+user+" ") {
		t.Errorf("the demo names the command that explains an offer %d times, of user %q:\n%s", strings.Count(out, "offerctl explain"), user, out)
	}
	var s demoSummary
	if err := json.Unmarshal([]byte(offerctl(t, "demo", "--for", "1s", "--json", "--seed", "1", "--addr", "127.0.0.1:0")), &s); err != nil || len(s.Unfired) < 2 || s.Unfired[0].Campaign != "11st-cart" || s.Unfired[0].Pending == 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
