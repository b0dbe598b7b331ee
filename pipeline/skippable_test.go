package pipeline

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
)

// TestSkippableRandom: no pack is skipped that holds a fact or an event of the user,
// with ids of all spellings, members twice, and members that only look like ids.
func TestSkippableRandom(t *testing.T) {
	set := mustCompile(t, func() *campaign.Definition {
		def, err := campaign.ParseDefinition((&scene{campaigns: []string{sends("c", "", `"on":["page"]`)}}).set())
		if err != nil {
			t.Fatal(err)
		}
		def.Clock = campaign.ClockBroker
		return def
	}())
	rng := rand.New(rand.NewPCG(1, 5))
	ids := []string{`"ada"`, `"\u0061da"`, `"a\/b"`, `"a/b"`, `1000`, `1e3`, `1.0E+3`, `"1000"`, `"1e3"`, `-0`, `0`, `0.0`, `-5`, `-5.0`, `-0.5e1`, `12345678901234567890123`, `1.2345678901234567890123e22`, `null`, `""`, `true`, `{}`, `"é"`, `"\u00e9"`, `" "`, `0.1`, `1e-1`, `5e-324`}
	members := []string{"userId", "anonymousId", "user\\u0049d", "messageId", "xId", "key", "fact"}
	pick := func(from []string) string { return from[rng.IntN(len(from))] }
	skipped, kept := 0, 0
	var dec event.Decoder
	for range 30_000 {
		var pack string
		keys, facts := map[string]bool{}, false
		for range 1 + rng.IntN(2) {
			line := `{"type":` + pick([]string{`"page"`, `"page"`, `"page"`, `"page"`, `"f\u0061ct"`, `"fact","fact":"x","key":1,"values":{}`})
			for range 1 + rng.IntN(3) {
				line += fmt.Sprintf(`,"%s"%s:%s%s`, pick(members), pick([]string{"", " ", "\t"}), pick([]string{"", " ", "  "}), pick(ids))
			}
			line += "}"
			pack += line + "\n"
			if ev, err := dec.Decode([]byte(line)); err == nil {
				facts = facts || ev.Type == event.Fact
				if ev.Type != event.Fact {
					keys[strings.Clone(ev.Key)] = true
				}
			}
		}
		var only []string
		for _, id := range []string{"ada", "a/b", "1000", "1e3", "0", "-5", "12345678901234567890123", "é", " ", "0.1", "5e-324"} {
			only = append(only, "u:"+id, "a:"+id)
		}
		for key := range keys {
			only = append(only, key)
		}
		key := pick(only)
		f, err := NewFold(Cursor{Set: set.hash}, func(string) (*Set, error) { return set, nil }, Memory{})
		if err != nil {
			t.Fatal(err)
		}
		f.Only(key)
		if !f.skippable([]byte(pack)) {
			kept++
			continue
		}
		if skipped++; keys[key] || facts {
			t.Fatalf("%s: skipped\n%s", key, pack)
		}
	}
	if skipped == 0 || kept == 0 {
		t.Errorf("%d skipped, %d kept", skipped, kept)
	}
}

// TestSkippableItem: a pack with an event about an item is not skipped for the item.
func TestSkippableItem(t *testing.T) {
	b := itemScene(t)
	for _, c := range []struct {
		key, id string
		skipped bool
	}{{"i:product:p1", `"p1"`, false}, {"i:product:p2", `"p1"`, true}, {"i:product:1000", `1e3`, false}, {"i:product:1000", `1000`, false}, {"i:product:7", `1000`, true}} {
		b.Only(c.key)
		b.fold.step.live.def.Clock = campaign.ClockBroker
		if got := b.fold.skippable(fmt.Appendf(nil, `{"type":"item","kind":"product","id":%s,"event":"Price"}`, c.id)); got != c.skipped {
			t.Errorf("%s, an event of %s: skipped %v", c.key, c.id, got)
		}
	}
}
