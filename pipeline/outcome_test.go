package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
)

// TestCountsAcrossSets checks that counts only grow: a campaign keeps its
// counts when the set changes, even if the new set lacks it, and its pending
// evaluations are cancelled.
func TestCountsAcrossSets(t *testing.T) {
	cart := `"on":["Add"],"unless":{"on":["Order"],"within":60000000000}`
	both, one, changed := setOf(t, sends("cart", "", cart), sends("view", "", `"on":["View"],"where":"event.properties.p > 1","if":["event.properties.q > 1"]`)),
		setOf(t, sends("view", "", `"on":["View"]`)), setOf(t, sends("cart", "", `"on":["Add"],"unless":{"on":["Order"],"within":120000000000}`))
	sets := map[string]*Set{both.hash: both, one.hash: one, changed.hash: changed}
	f, err := NewFold(Cursor{}, func(hash string) (*Set, error) { return sets[hash], nil }, Memory{})
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	apply := func(kind Kind, data string) {
		seq++
		if err := f.Begin(Message{Seq: seq, Stored: int64(seq) * 1e9, Kind: kind, Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = f.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}
	live := func(set *Set) { apply(Control, fmt.Sprintf(`{"set":%q,"engine":%d}`, set.hash, Engine)) }
	event := func(user, name string) {
		apply(In, fmt.Sprintf(`{"type":"track","event":%q,"userId":%q,"messageId":"%d","properties":{"p":2}}`, name, user, seq))
	}
	check := func(campaign, want string) {
		t.Helper()
		counts, _ := f.Counts()
		if got := fmt.Sprint(nonzero(ints(outcomesOf(counts[campaign])))); got != "map["+want+"]" {
			t.Errorf("after message %d: %s %s, want %s", seq, campaign, got, want)
		}
	}
	live(both)
	event("a", "Add")
	event("b", "Add")
	event("a", "View")
	check("cart", "evaluated:2 pending:2")
	check("view", "condition:1 evaluated:1 missing:1")
	live(one) // without cart
	if v, err := f.User("u:a"); err != nil || len(v.Pending) != 0 {
		t.Errorf("the user under the new set: %+v, %v", v, err)
	}
	check("cart", "evaluated:2 pending:2")
	event("a", "View")
	check("cart", "cancelled:1 evaluated:2 pending:1")
	check("view", "condition:1 evaluated:2 fired:1 missing:1")
	live(changed) // with cart again, changed: its pending evaluations are cancelled
	event("b", "Add")
	check("cart", "cancelled:2 evaluated:3 pending:1")
	live(both)
	apply(Tick, `{"at":"1970-01-01T01:00:00Z"}`)
	event("b", "x")
	check("cart", "cancelled:3 evaluated:3")
	check("view", "condition:1 evaluated:2 fired:1 missing:1")
}

func setOf(t *testing.T, campaigns ...string) *Set {
	t.Helper()
	def, err := campaign.ParseDefinition((&scene{campaigns: campaigns}).set())
	if err != nil {
		t.Fatal(err)
	}
	def.Clock = campaign.ClockBroker
	return mustCompile(t, def)
}

func ints(m map[string]uint64) map[string]int {
	out := map[string]int{}
	for k, v := range m {
		out[k] = int(v)
	}
	return out
}

// TestOutcomeMeanings: each outcome has a meaning of its own, which fits on a line of
// a summary, and a word without blanks.
func TestOutcomeMeanings(t *testing.T) {
	seen := map[string]Outcome{}
	suppressed := 0
	for _, o := range Outcomes() {
		m := o.Meaning()
		if before, ok := seen[m]; ok || m == "" || len(m) > 83 {
			t.Errorf("%s means %q, as %s", o, m, before)
		}
		seen[m] = o
		if w := o.Word(); w == "" || strings.ContainsAny(w, " -") {
			t.Errorf("the word of %s is %q", o, w)
		}
		if o.Suppressed() {
			suppressed++
		}
	}
	if Quiet.Word() != "quiet_hours" || NoChoice.Word() != "no_choice" || suppressed != len(Outcomes())-4 {
		t.Errorf("%s, %s, %d reasons", Quiet.Word(), NoChoice.Word(), suppressed)
	}
}
