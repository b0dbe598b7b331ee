package pipeline

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/oracle"
	"offerstream/pipeline/window"
)

var (
	seeds = flag.Int("seeds", 500, "how many seeds TestProperty and TestPropertyItems run")
	seed  = flag.Uint64("seed", 1, "the first seed that they run")

	// To find out what a difference depends on:
	without = flag.String("without", "", "constructs to leave out, with commas between them (oracle.Case.Without)")
	only    = flag.String("campaign", "", "the only campaign to keep")
	user    = flag.String("user", "", "keep only events with this text, and facts")
	lines   = flag.Int("lines", 0, "keep only so many lines")
)

// randomCase is the oracle's case for a seed, cut down as the flags say.
func randomCase(seed uint64) oracle.Case { return cutDown(oracle.Random(seed)) }

// cutDown cuts a case down as the flags say.
func cutDown(c oracle.Case) oracle.Case {
	for construct := range strings.SplitSeq(*without, ",") {
		if construct != "" {
			c = c.Without(construct)
		}
	}
	if *only != "" {
		c = c.Only(*only)
	}
	if *user != "" {
		c = c.OnlyUser(*user)
	}
	if *lines > 0 {
		c.Events = c.Events[:min(len(c.Events), *lines)]
	}
	return c
}

// TestProperty compares the core with the brute-force oracle on random
// campaigns and random events: they must give the same offers in the same
// order, including ids, and the same outcomes. After each event, entities are
// also encoded and decoded.
func TestProperty(t *testing.T) {
	t.Parallel()
	met := map[string]int{}
	for s := *seed; s < *seed+uint64(*seeds); s++ {
		if b, _ := compareCase(t, randomCase(s), met); b != nil {
			b.tell(met)
		}
		if t.Failed() {
			t.Fatalf("seed %d: go test ./pipeline -run TestProperty -seeds=1 -seed=%d", s, s)
		}
	}
	t.Logf("%d seeds from %d met", *seeds, *seed)
	for _, name := range slices.Sorted(maps.Keys(met)) {
		t.Logf("%8d %s", met[name], name)
	}
	wantAllMet(t, met, wantMet())
}

// TestPropertyItems is TestProperty for sets with items and `to`, budgets and pools, and
// for visitors who become users (LANGUAGE.md, rules 17 and 20 to 25).
func TestPropertyItems(t *testing.T) {
	t.Parallel()
	met := map[string]int{}
	for s := *seed; s < *seed+uint64(*seeds); s++ {
		if b, _ := compareCase(t, cutDown(oracle.RandomMixed(s)), met); b != nil {
			b.tell(met)
		}
		if t.Failed() {
			t.Fatalf("seed %d: go test ./pipeline -run TestPropertyItems -seeds=1 -seed=%d", s, s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(met)) {
		t.Logf("%8d %s", met[name], name)
	}
	wantAllMet(t, met, oracle.RequiredMixed())
}

// wantAllMet fails where a run that begins at the first seed and has at least as many as
// `go test` runs, none of them cut down, did not meet something. The rarest happen once in
// hundreds of seeds, so another stretch of 500 may lack one.
func wantAllMet(t *testing.T, met map[string]int, names []string) {
	t.Helper()
	if *seed != 1 || *seeds < 500 || *without != "" || *only != "" || *user != "" || *lines != 0 {
		return
	}
	for _, name := range names {
		if met[name] == 0 {
			t.Errorf("%d seeds from %d did not meet: %s", *seeds, *seed, name)
		}
	}
}

// wantMet lists what the seeds of a normal run must meet.
func wantMet() []string {
	want := []string{"duplicates", "bounds", "missing fields", "errors", "traits", "sessions with a referrer", "users by number", "anonymous users", "sent by service"}
	want = append(want, oracle.Required()...)
	want = append(want, "users at the bound on bytes", "profiles at the bound on bytes", "pending evaluations at the bound on bytes")
	for _, o := range Outcomes() {
		if o != OverBudget && o != Lost { // RequiredMixed has budgets, and a file loses nothing
			want = append(want, "outcome "+o.String())
		}
	}
	want = append(want, "outcome pending")
	for _, reason := range []string{"json", "size", "type", "name", "identity", "user", "timestamp", "fields"} {
		want = append(want, "rejected: "+reason)
	}
	for _, agg := range window.Aggregates {
		name := agg.Name
		if want = append(want, name+" by"); !agg.Ranks { // which has `by` always
			want = append(want, name)
		}
		if agg.Folds() {
			want = append(want, name+" folded")
		}
	}
	return want
}

// tell counts in met what a run has met.
func (b *Backtest) tell(met map[string]int) {
	counts, features := b.Counts()
	for _, c := range counts {
		for o, n := range c.Ended {
			met["outcome "+Outcome(o).String()] += int(n)
		}
		met["outcome pending"] += int(c.Pending())
	}
	for reason, n := range b.Rejected {
		met["rejected: "+reason] += int(n)
	}
	met["duplicates"] += int(b.Duplicates())
	met["bounds"] += int(features.Bounds)
	met["missing fields"] += int(features.Missing)
	met["errors"] += int(features.Errors)
	for key, e := range b.Users {
		e.bind(b.fold.step.live)
		met["traits"] += len(e.traits)
		for name, is := range map[string]bool{
			"users by number": key == "u:42", "anonymous users": key[0] == 'a', "sessions with a referrer": e.session.referrerHost != "",
			"sent by service":                           len(e.sent) > 0 && len(e.channels) == 0,
			"users at the bound on bytes":               e.size.Bytes > e.live.def.Bounds.UserBytes-40,
			"profiles at the bound on bytes":            e.traitBytes() > maxTraits*3/4,
			"pending evaluations at the bound on bytes": e.keeps > maxPending/2,
		} {
			if is {
				met[name]++
			}
		}
		for i, f := range e.live.features {
			if st := e.feature(i); st != nil {
				f.tell(st, met)
			}
		}
	}
}

func (f *feature) tell(st *window.State, met map[string]int) {
	name := f.def.Agg
	if !f.by.none() {
		name += " by"
	}
	held, folded := f.shape.KeysHolding(st)
	met[name] += held
	met[f.def.Agg+" folded"] += folded
}

// compareWithOracle is compareCase for a set and lines.
func compareWithOracle(t *testing.T, set []byte, events [][]byte) (*Backtest, []*Offer) {
	t.Helper()
	return compareCase(t, oracle.Case{Set: set, Events: events}, map[string]int{})
}

// compareCase runs core and oracle on a case, and compares them. It counts in met
// what the oracle has met. It returns nil if the set does not compile.
func compareCase(t *testing.T, c oracle.Case, met map[string]int) (*Backtest, []*Offer) {
	t.Helper()
	want, err := c.Run()
	if err != nil {
		t.Fatalf("oracle: %v", err)
	}
	for what, n := range want.Met {
		met[what] += n
	}
	met["rejected"] += want.Rejected
	def, err := campaign.ParseDefinition(c.Set)
	if err != nil {
		t.Fatal(err)
	}
	b, problems := NewBacktest(def)
	for _, p := range problems {
		t.Error(p)
	}
	if b == nil {
		return nil, nil
	}
	b.fold.Partition(0, c.Partitions)
	var got []*Offer
	var pages []oracle.Page
	b.fold.step.page = func(r *PageRecord) { pages = append(pages, oracle.Page{ID: r.ID, JSON: string(r.JSON())}) }
	for i, line := range c.Events {
		for _, control := range c.Controls {
			if control.At == i {
				b.control(control)
			}
		}
		if err := b.Line(line, func(o *Offer) { got = append(got, o); compareJSON(t, o) }); err != nil {
			t.Fatal(err)
		}
		b.recode(t)
	}
	for i := 0; i < max(len(got), len(want.Offers)); i++ {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = asJSON(got[i])
		}
		if i < len(want.Offers) {
			w = asJSON(want.Offers[i])
		}
		if g != w {
			t.Errorf("offer %d:\n   core %s\n oracle %s", i, g, w)
			break
		}
	}
	for i := range max(len(pages), len(want.Pages)) {
		var g, w oracle.Page
		if i < len(pages) {
			g = pages[i]
		}
		if i < len(want.Pages) {
			w = want.Pages[i]
		}
		if g != w {
			t.Errorf("page record %d:\n   core %s %s\n oracle %s %s", i, g.ID, g.JSON, w.ID, w.JSON)
			break
		}
	}
	b.compareCounts(t, want)
	return b, got
}

// control carries a control message out between two lines.
func (b *Backtest) control(c oracle.Control) {
	b.fold.carryOut(&control{Paused: &c.Paused, Pauses: c.Pauses, Channels: c.Channels, Resumed: c.Resumed})
}

// compareJSON checks that Offer.AppendJSON gives the same as encoding/json.
func compareJSON(t *testing.T, o *Offer) {
	t.Helper()
	got, err := o.AppendJSON(nil)
	if want := asJSON(o); err != nil || string(got) != want {
		t.Errorf("the offer's JSON is %s (%v), encoding/json gives %s", got, err, want)
	}
}

func (b *Backtest) compareCounts(t *testing.T, want oracle.Result) {
	t.Helper()
	rejected := 0
	for _, n := range b.Rejected {
		rejected += int(n)
	}
	if rejected != want.Rejected || int(b.Duplicates()) != want.Duplicates {
		t.Errorf("core: %d rejected, %d duplicates; oracle: %d and %d", rejected, b.Duplicates(), want.Rejected, want.Duplicates)
	}
	counts, _ := b.Counts()
	for id, began := range want.Evaluations {
		for _, n := range want.Counts[id] {
			began -= n
		}
		if began != 0 {
			t.Errorf("oracle: %s has %d evaluations more than outcomes", id, began)
		}
	}
	if err := b.Conserved(); err != nil {
		t.Error(err)
	}
	for name, c := range counts {
		g := map[string]int{}
		for o, n := range c.Ended {
			g[Outcome(o).String()] = int(n)
		}
		g["pending"] = int(c.Pending())
		if g, w := fmt.Sprint(nonzero(g)), fmt.Sprint(nonzero(want.Counts[name])); g != w {
			t.Errorf("%s:\n   core %s\n oracle %s", name, strings.TrimPrefix(g, "map"), strings.TrimPrefix(w, "map"))
		}
	}
}

// recode encodes and decodes entities that the last line touched.
func (b *Backtest) recode(t *testing.T) {
	for key, e := range b.Users {
		if e.last != b.fold.cur.LogTime || len(key)%2 == 0 { // only half of the entities, so that both cases are tested
			continue
		}
		got, err := DecodeEntity(key, e.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		if a, b := string(e.AppendBinary(nil)), string(got.AppendBinary(nil)); a != b {
			t.Fatalf("entity %s changes when it is encoded and decoded:\n%x\n%x", key, a, b)
		}
		b.Users[key] = got
	}
}

func nonzero(m map[string]int) map[string]int {
	out := map[string]int{}
	for k, v := range m {
		if v != 0 {
			out[k] = v
		}
	}
	return out
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
