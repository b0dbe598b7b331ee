package pipeline

import (
	"bytes"
	"fmt"
	"testing"

	"offerstream/pipeline/campaign"
)

// TestEngineBefore checks that a binary also runs the previous engine: the golden log
// of that engine gives its golden offers. Likewise here the
// next engine has the same semantics as this one: on a binary of the next
// engine, the log of this engine must give its golden offers; sets of both
// engines are accepted, and sets of any other engine are refused.
func TestEngineBefore(t *testing.T) {
	g := readGolden(t, Engine-1)
	def, err := campaign.ParseDefinition(g.set)
	if err != nil {
		t.Fatal(err)
	}
	def.Clock = campaign.ClockBroker
	set, problems := Compile(def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	g.compare(t, "effects.jsonl", g.effects, foldGolden(t, set, bytes.Split(g.events, []byte("\n")), Engine))

	const next = Engine + 1
	g = readGolden(t, Engine)
	if def, err = campaign.ParseDefinition(g.set); err != nil {
		t.Fatal(err)
	}
	def.Clock = campaign.ClockBroker
	set, problems = compileFor(def, next)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	g.compare(t, "effects.jsonl", g.effects, foldGolden(t, set, bytes.Split(g.events, []byte("\n")), next))

	for _, c := range []struct {
		engine, newest int
		runs           bool
	}{{Engine, Engine, true}, {next, Engine, false}, {Engine, next, true}, {next, next, true}, {Engine, next + 1, false}, {oldestEngine - 1, oldestEngine, false}} {
		changed := *def
		changed.Engine = c.engine
		set, problems := compileFor(&changed, c.newest)
		if (set != nil) != c.runs {
			t.Errorf("a set of engine %d on a binary of engine %d: problems %v", c.engine, c.newest, problems)
		}
		if changed.Engine = c.newest; c.runs {
			changed.Engine = c.engine
		}
		if set, problems = compileFor(&changed, c.newest); len(problems) > 0 {
			t.Fatal(problems)
		}
		f, err := NewFold(Cursor{}, func(string) (*Set, error) { return set, nil }, Memory{})
		if err != nil {
			t.Fatal(err)
		}
		f.newest = c.newest
		err = f.Begin(Message{Seq: 1, Stored: 1, Kind: Control, Data: fmt.Appendf(nil, `{"set":"x","engine":%d}`, c.engine)})
		if (err == nil) != c.runs {
			t.Errorf("a control message of engine %d on a binary of engine %d: error %v", c.engine, c.newest, err)
		}
	}
}

// compileFor is Compile for a binary with engine newest.
func compileFor(def *campaign.Definition, newest int) (*Set, []campaign.Problem) {
	return (&compiler{}).compile(def, newest)
}
