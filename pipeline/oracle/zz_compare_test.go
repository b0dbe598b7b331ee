package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"

	"offerstream/pipeline"
)

func core(set []byte, events [][]byte) ([]string, map[string]map[string]int, int, error) {
	def, err := pipeline.ParseDefinition(set)
	if err != nil {
		return nil, nil, 0, err
	}
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		return nil, nil, 0, fmt.Errorf("%v", problems)
	}
	var offers []string
	for _, l := range events {
		if err := b.Line(bytes.Clone(l), func(o *pipeline.Offer) { j, _ := json.Marshal(o); offers = append(offers, string(j)) }); err != nil {
			return nil, nil, 0, err
		}
	}
	cs, _ := b.Counts()
	counts := map[string]map[string]int{}
	for id, c := range cs {
		m := map[string]int{"fired": int(c.Fired), "condition": int(c.Condition), "period": int(c.Period), "age": int(c.Age), "limit": int(c.Limit), "cap": int(c.Cap), "pause": int(c.Pause), "outranked": int(c.Outranked), "duplicate": int(c.Duplicate), "error": int(c.Error), "cancelled": int(c.Cancelled), "superseded": int(c.Superseded), "pending": int(c.Pending())}
		counts[id] = m
	}
	rej := 0
	for _, n := range b.Rejected {
		rej += int(n)
	}
	return offers, counts, rej, nil
}

func TestCompare(t *testing.T) {
	n := uint64(300)
	from := uint64(0)
	if s := os.Getenv("SEEDS"); s != "" {
		fmt.Sscanf(s, "%d-%d", &from, &n)
	}
	bad := 0
	for seed := from; seed < n; seed++ {
		set, events := Generate(seed)
		want, err := Run(set, events)
		if err != nil {
			t.Fatal(seed, err)
		}
		got, counts, rej, err := core(set, events)
		if err != nil {
			bad++
			if bad <= 5 {
				t.Errorf("seed %d: core: %.400s", seed, err)
			}
			continue
		}
		msg := ""
		for i := 0; i < len(want.Offers) || i < len(got); i++ {
			w, g := "-", "-"
			if i < len(want.Offers) {
				j, _ := json.Marshal(want.Offers[i])
				w = string(j)
			}
			if i < len(got) {
				g = got[i]
			}
			if w != g {
				msg += "offer " + strconv.Itoa(i) + "\n oracle " + w + "\n core   " + g + "\n"
				break
			}
		}
		if rej != want.Rejected {
			msg += fmt.Sprintf("rejected oracle %d core %d\n", want.Rejected, rej)
		}
		for id, m := range counts {
			for k, v := range m {
				if want.Counts[id][k] != v {
					msg += fmt.Sprintf("%s %s oracle %d core %d\n", id, k, want.Counts[id][k], v)
				}
			}
		}
		if msg != "" {
			bad++
			if bad <= 12 {
				t.Errorf("seed %d\n%s", seed, msg)
			}
		}
	}
	t.Logf("%d differ", bad)
}
