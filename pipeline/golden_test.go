package pipeline

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"

	"github.com/valyala/fastjson"
)

var update = flag.Bool("update", false, "TestGolden makes testdata/golden/<Engine>, which must have no offers yet: from the set and the events there, else from those of the previous engine")

// A golden is the promise of one engine: this set and these events give these
// offers, both as a file under clock: event and as a log under clock: broker.
//
//	set.json       a Definition
//	events.jsonl   events, some of which are refused
//	offers.jsonl   the offers of a backtest
//	effects.jsonl  the offers, page records and dead letters of the log that goldenLog makes
type golden struct{ set, events, offers, effects []byte }

func goldenDir(engine int) string {
	return filepath.Join("testdata", "golden", strconv.Itoa(engine))
}

// addedLater lists what was added to this engine after its golden log was made,
// and which therefore the log does not meet. The log of the next engine must
// meet it.
var addedLater []string

// TestGolden checks that the semantics do not change by accident: a deployment
// that replays its log with a new binary must get the offers that it has sent.
func TestGolden(t *testing.T) {
	if *update {
		updateGolden(t)
	}
	g := readGolden(t, Engine)
	if def, err := campaign.ParseDefinition(g.set); err != nil {
		t.Fatal(err)
	} else if def.Engine != Engine {
		t.Fatalf("%s/set.json is of engine %d", goldenDir(Engine), def.Engine)
	}
	b, offers, effects := g.run(t)
	g.compare(t, "offers.jsonl", g.offers, offers)
	g.compare(t, "effects.jsonl", g.effects, effects)
	met := map[string]int{}
	b.tell(met)
	want := []string{"outcome pending", "duplicates", "bounds", "traits", "errors", "missing fields"}
	for _, o := range Outcomes() {
		if o != Quiet && o != Paused && o != Lost { // the set holds in quiet hours; the log, not the backtest, has a pause; nothing is lost in one partition
			want = append(want, "outcome "+o.String())
		}
	}
	for _, agg := range window.Aggregates {
		if met[agg.Name] == 0 && met[agg.Name+" by"] == 0 {
			want = append(want, agg.Name)
		}
	}
	for _, name := range want {
		if met[name] == 0 && !slices.Contains(addedLater, name) {
			t.Errorf("the golden log does not meet: %s", name)
		}
	}
	compareWithOracle(t, g.set, bytes.Split(g.events, []byte("\n")))
}

func (g *golden) compare(t *testing.T, file string, want, got []byte) {
	t.Helper()
	w, h := bytes.SplitAfter(want, []byte("\n")), bytes.SplitAfter(got, []byte("\n"))
	for i := range max(len(w), len(h)) {
		var a, b []byte
		if i < len(w) {
			a = w[i]
		}
		if i < len(h) {
			b = h[i]
		}
		if bytes.Equal(a, b) {
			continue
		}
		t.Errorf(`%s/%s, line %d:
  want %s
   got %s
The semantics changed: the same log gives other offers. If this is intended, give
the engine a new number (Engine in compile.go) and make testdata/golden/<N>
with: go test ./pipeline -run TestGolden -update`, goldenDir(Engine), file, i+1, bytes.TrimSpace(a), bytes.TrimSpace(b))
		return
	}
}

// run computes offers.jsonl and effects.jsonl.
func (g *golden) run(t *testing.T) (b *Backtest, offers, effects []byte) {
	t.Helper()
	def, err := campaign.ParseDefinition(g.set)
	if err != nil {
		t.Fatal(err)
	}
	def.Engine = Engine
	b, problems := NewBacktest(def)
	if b == nil {
		t.Fatal(problems)
	}
	lines := bytes.Split(g.events, []byte("\n"))
	for _, line := range lines {
		if err := b.Line(line, func(o *Offer) { offers = append(append(offers, asJSON(o)...), '\n') }); err != nil {
			t.Fatal(err)
		}
	}
	def.Clock = campaign.ClockBroker
	return b, offers, foldGolden(t, mustCompile(t, def), lines, Engine)
}

// goldenLog is a log of the lines: control messages, packs of three events with
// the stamps of a gateway, and ticks. The broker's clock goes back
// sometimes, and at times it is hours ahead.
func goldenLog(set *Set, lines [][]byte) []Message {
	at := time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC).UnixNano()
	var log []Message
	add := func(kind Kind, stored int64, data []byte) {
		log = append(log, Message{Seq: uint64(len(log) + 1), Stored: stored, Kind: kind, Data: data})
	}
	add(Control, at, fmt.Appendf(nil, `{"set":%q,"engine":%d,"at":%q}`, set.Hash(), set.def.Engine, value.FormatTime(at)))
	for i := 0; i < len(lines); i += 3 {
		var pack []byte
		for _, line := range lines[i:min(i+3, len(lines))] {
			if own, err := value.ParseTime(fastjson.GetString(line, "timestamp")); err == nil && own > at {
				at = own
			}
			if bytes.HasPrefix(line, []byte(`{"`)) {
				pack = fmt.Appendf(pack, `{"receivedAt":%q,"sentAt":%q,`, value.FormatTime(at+2e9), value.FormatTime(at+1e9))
				line = line[1:]
			}
			pack = append(append(pack, line...), '\n')
		}
		stored := at + 2100e6
		switch i / 3 % 10 {
		case 4:
			stored -= int64(time.Minute)
		case 7:
			stored += int64(5 * time.Hour)
		}
		add(In, stored, pack)
		switch i / 3 {
		case 20:
			add(Control, at, fmt.Appendf(nil, `{"paused":["dear","rows","best"],"engine":%d,"at":%q}`, set.def.Engine, value.FormatTime(at)))
		case 60:
			add(Control, at, fmt.Appendf(nil, `{"paused":["rows/r1"],"engine":%d,"at":%q}`, set.def.Engine, value.FormatTime(at)))
		case 100:
			add(Control, at, fmt.Appendf(nil, `{"paused":[],"engine":%d,"at":%q}`, set.def.Engine, value.FormatTime(at)))
		}
		if i/3%5 == 0 {
			at += int64(10 * time.Minute)
			add(Tick, at, fmt.Appendf(nil, `{"at":%q}`, value.FormatTime(at)))
		}
		for _, c := range goldenChanges(set, i/3) {
			add(Control, at, fmt.Appendf(nil, `{"engine":%d,"at":%q,%s}`, set.def.Engine, value.FormatTime(at), c))
		}
	}
	return log
}

// goldenChanges are the members of the control messages after a pack: a
// pause of channels, stale revisions, a set with less in it and the way back, and
// two switches. Other sets have the names that goldenSets gives them.
func goldenChanges(set *Set, pack int) []string {
	object := func() string {
		var sw Switch
		for _, ft := range set.features {
			sw.Features = append(sw.Features, ft.def.Name)
		}
		for i, c := range set.def.Campaigns {
			if i%2 == 0 {
				sw.Campaigns = append(sw.Campaigns, c.ID)
			}
		}
		sw.LogTime, sw.Stored, sw.Overdue.Over = 1<<62, 1<<62, time.Hour
		return asJSON(sw)
	}
	switch pack {
	case 40:
		return []string{`"set":"less","revision":1`, `"paused":[],"channels":["web"],"pauses":1`}
	case 45:
		return []string{`"set":"less","revision":1`, `"paused":["fan"],"pauses":1`, fmt.Sprintf(`"set":%q,"revision":2`, set.hash)}
	case 50:
		return []string{`"paused":[],"pauses":2`}
	case 80:
		return []string{`"set":"less","revision":3`}
	case 90:
		return []string{fmt.Sprintf(`"set":%q,"revision":3,"switch":%s`, set.hash, object()), fmt.Sprintf(`"set":%q,"revision":4,"switch":%s`, set.hash, object())}
	case 110:
		return []string{fmt.Sprintf(`"set":%q,"revision":5,"switch":%s`, set.hash, object())}
	}
	return nil
}

// goldenSets finds the sets of the golden log.
func goldenSets(t *testing.T, set *Set) func(hash string) (*Set, error) {
	less := *set.def
	less.Campaigns, less.Features = nil, less.Features[:len(less.Features)/2]
	for i, c := range set.def.Campaigns {
		if c.ID == "absence" {
			less.Campaigns = append(less.Campaigns, set.def.Campaigns[i])
		}
	}
	other, problems := Compile(&less)
	if other == nil {
		t.Fatal(problems)
	}
	return func(hash string) (*Set, error) {
		if hash == "less" || hash == other.hash {
			return other, nil
		}
		return set, nil
	}
}

// foldGolden folds the log as a binary with engine newest does.
func foldGolden(t *testing.T, set *Set, lines [][]byte, newest int) (out []byte) {
	t.Helper()
	d := &folded{t: t, ents: Memory{}, sets: map[string]*Set{set.hash: set}, at: map[uint64]stateAt{0: {}}, log: goldenLog(set, lines)}
	f, err := NewFold(Cursor{}, goldenSets(t, set), d.ents)
	if err != nil {
		t.Fatal(err)
	}
	f.newest = newest
	for i, m := range d.log {
		if err := f.Begin(m); err != nil {
			t.Fatal(err)
		}
		for {
			more, err := f.Next()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range f.Effects() {
				line := map[string]any{"chain": e.Chain, "position": e.Pos}
				switch {
				case e.Dead != nil:
					line["dead"] = e.Dead.Reason
				case e.Page != nil:
					line["page"], line["id"] = e.Page, e.Page.ID
				default:
					line["offer"] = e.Offer
					if granted := e.Offer.Granted(); granted != "" {
						line["granted"] = granted
					}
				}
				out = append(append(out, asJSON(line)...), '\n')
			}
			if !more {
				break
			}
		}
		if sw, _ := f.Switching(); sw != nil {
			c, ents := (&folded{t: t, sets: d.sets, at: d.at, log: d.log[:i+1]}).second(sw)
			if err := f.JoinMemory(c, d.ents, ents); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

func readGolden(t *testing.T, engine int) *golden {
	t.Helper()
	g := new(golden)
	for name, b := range g.files() {
		got, err := os.ReadFile(filepath.Join(goldenDir(engine), name))
		if err != nil {
			t.Fatalf("%v\nMake it with: go test ./pipeline -run TestGolden -update", err)
		}
		*b = got
	}
	return g
}

func (g *golden) files() map[string]*[]byte {
	return map[string]*[]byte{"set.json": &g.set, "events.jsonl": &g.events, "offers.jsonl": &g.offers, "effects.jsonl": &g.effects}
}

// updateGolden makes the directory of a new engine. What is new in the engine needs a
// set and events of its own, which may be there already. It refuses to overwrite
// offers, because deployments have sent offers that were made by that engine.
func updateGolden(t *testing.T) {
	t.Helper()
	dir := goldenDir(Engine)
	if _, err := os.Stat(filepath.Join(dir, "offers.jsonl")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s has offers: give the engine a new number first (Engine in compile.go)", dir)
	}
	g := new(golden)
	g.set, _ = os.ReadFile(filepath.Join(dir, "set.json"))
	g.events, _ = os.ReadFile(filepath.Join(dir, "events.jsonl"))
	if len(g.set) == 0 || len(g.events) == 0 {
		g = readGolden(t, Engine-1)
		old := fmt.Appendf(nil, `"engine": %d,`, Engine-1)
		if !bytes.Contains(g.set, old) {
			t.Fatalf("%s/set.json does not contain %s", goldenDir(Engine-1), old)
		}
		g.set = bytes.Replace(g.set, old, fmt.Appendf(nil, `"engine": %d,`, Engine), 1)
	}
	_, g.offers, g.effects = g.run(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range g.files() {
		if err := os.WriteFile(filepath.Join(dir, name), *b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
