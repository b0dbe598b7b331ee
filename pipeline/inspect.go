package pipeline

import (
	"encoding/json"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// An inspector shows what the conditions of a set read, for traces. It compiles the
// conditions again, when a trace first needs them: a set that is not traced keeps
// nothing for this.
type inspector struct {
	set       *Set
	compiler  *compiler
	campaigns map[*compiled]*inspected
}

// An inspected is a campaign in an inspector.
type inspected struct {
	words    wording
	triggers []inspectedTrigger // by entry, or by step of the sequence
	of       map[string]*expr.Inspection
}

// An inspectedTrigger is a trigger, with all conjuncts of its `where`: also those
// that the index checks.
type inspectedTrigger struct {
	on    names
	where []*expr.Expr
	row   []bool // by conjunct: it reads a value of the row
}

func newInspector(set *Set) *inspector {
	in := &inspector{set: set, compiler: &compiler{set: set}, campaigns: map[*compiled]*inspected{}}
	c := in.compiler
	if envs, err := envs(); err == nil { // there was none when the set was compiled
		c.about = c.language(envs.about, place{scope: "about the event only"})
	}
	c.seeState() // also of items: their features are compiled
	return in
}

// campaign inspects a campaign.
func (in *inspector) campaign(c *compiled) *inspected {
	if is := in.campaigns[c]; is != nil {
		return is
	}
	again := &compiled{def: c.def, columns: c.columns}
	is := &inspected{words: in.compiler.wordingOf(again), of: map[string]*expr.Inspection{}}
	add := func(on []string, where string) {
		t := inspectedTrigger{on: namesOf(on), where: in.compiler.where(is.words.about, where, nil)}
		for _, x := range t.where {
			row := false
			again.reads(x, func(name string) { row = row || len(name) > 4 && name[:4] == "row." })
			t.row = append(t.row, row)
		}
		is.triggers = append(is.triggers, t)
	}
	switch {
	case c.def.Sequence != nil:
		for _, st := range c.def.Sequence.Steps {
			add(st.On, st.Where)
		}
	case c.atSessionEnd():
	case len(c.def.Any) > 0:
		for _, t := range c.def.Any {
			add(t.On, t.Where)
		}
	default:
		add(c.def.On, c.def.Where)
	}
	in.campaigns[c] = is
	return is
}

// condition inspects a condition in one of the campaign's languages; nil if it
// cannot.
func (is *inspected) condition(l *expr.Language, text string) *expr.Inspection {
	of, known := is.of[text]
	if !known {
		of = l.Inspect(text)
		is.of[text] = of
	}
	return of
}

// part judges a condition and shows what it reads.
func (is *inspected) part(l *expr.Language, x *expr.Expr, sc *scope) TracePart {
	p := TracePart{Text: x.Text, Condition: true}
	var err error
	if p.OK, err = x.Holds(sc); err != nil {
		p.Error, p.Missing = err.Error(), expr.IsMissing(err)
	}
	of := is.condition(l, x.Text)
	if of == nil {
		return p
	}
	for i := range of.Reads {
		v, err := of.Reads[i].Eval(sc)
		p.Values = append(p.Values, TraceValue{of.Reads[i].Text, jsonOf(v, err)})
	}
	if of.Op == "" {
		return p
	}
	left, leftErr := of.Left.Eval(sc)
	right, rightErr := of.Right.Eval(sc)
	p.Compared = &TraceComparison{Left: of.Left.Text, Op: of.Op, Right: of.Right.Text, LeftIs: jsonOf(left, leftErr), RightIs: jsonOf(right, rightErr)}
	for i, r := range []*expr.Reading{&of.Left, &of.Right} {
		if _, ok := sc.set.featureIndex[r.Name]; !ok {
			continue
		}
		p.Compared.Feature, p.Compared.FeatureIsRight = r.Name, i == 1
		if r.Key != nil {
			key, _ := r.Key.Key(sc)
			p.Compared.Key = strings.Clone(key) // it may be a text of the event
		}
		break
	}
	return p
}

// jsonOf is a value as JSON, null if there is none.
func jsonOf(v ref.Val, err error) json.RawMessage {
	if err != nil {
		return json.RawMessage("null")
	}
	return shortened(shown(v))
}

// mostTraced bounds the JSON of a value in a trace, in bytes: a list may have 256
// entries of 4 KB, and a user hundreds of evaluations that read it.
const mostTraced = 1024

// shortened is a value's JSON, or its beginning as a text.
func shortened(is json.RawMessage) json.RawMessage {
	if len(is) <= mostTraced {
		return is
	}
	text := string(is)
	if is[0] == '"' && json.Unmarshal(is, &text) != nil {
		return json.RawMessage("null") // cannot happen: it was made from a text
	}
	if len(text) > mostTraced-3 {
		text = strings.ToValidUTF8(text[:mostTraced-3], "") + "..."
	}
	return value.AppendJSONString(nil, text)
}

// inspected is the inspected campaign of a unit.
func (s *step) inspected(c *liveCampaign) *inspected {
	if s.inspector == nil || s.inspector.set != s.live.Set {
		s.inspector = newInspector(s.live.Set)
	}
	return s.inspector.campaign(c.compiled)
}

// mostRowsTraced bounds the rows of a campaign for which an event's triggers are
// traced: 25,000 rows would take long, and tell nobody anything.
const mostRowsTraced = 100

// traceTriggers tells of each unit whose `on` names the event whether the event meets
// its trigger.
func (s *step) traceTriggers(sc *scope) {
	if s.triggering == nil || len(s.triggersOf) == 0 && len(s.live.def.Campaigns) > MostTriggersTraced {
		return
	}
	ev := sc.event
	units := s.live.campaigns
	for first := 0; first < len(units); {
		c := units[first].compiled
		next := first + max(len(c.def.Rows), 1)
		if len(s.triggersOf) > 0 && !slices.Contains(s.triggersOf, c.def.ID) {
			first = next
			continue
		}
		is := s.inspected(&units[first])
		for k := range is.triggers {
			if is.triggers[k].on.have(ev) {
				s.traceTrigger(sc, units[first:min(next, first+mostRowsTraced)], is, k)
			}
		}
		first = next
	}
	sc.of(nil)
}

// traceTrigger tells of the rows of a campaign. What is the same for all rows is
// judged once: if it fails, one row stands for all.
func (s *step) traceTrigger(sc *scope, rows []liveCampaign, is *inspected, k int) {
	t := &is.triggers[k]
	same := make([]TracePart, len(t.where))
	allSame, fails := true, false
	sc.of(&rows[0])
	for i, x := range t.where {
		if t.row[i] {
			allSame = false
			continue
		}
		same[i] = is.part(is.words.about, x, sc)
		fails = fails || !same[i].OK
	}
	for r := range rows {
		if r > 0 && (fails || allSame) {
			break
		}
		sc.of(&rows[r])
		tr := &TriggerTrace{Campaign: rows[r].id, AllRows: rows[r].row != noRow && (fails || allSame), User: s.entity.Key, Entry: k, Sequence: rows[r].sequence != nil, Event: eventTraced(sc.event), Now: s.now, Holds: true}
		tr.Parts = append(tr.Parts, same...)
		for i, x := range t.where {
			if t.row[i] {
				tr.Parts[i] = is.part(is.words.about, x, sc)
			}
			tr.Holds = tr.Holds && tr.Parts[i].OK
		}
		s.triggering(tr)
	}
}

// eventTraced is an event in a trace.
func eventTraced(ev *event.Event) TraceEvent {
	return TraceEvent{ID: string([]byte(ev.ID)), Type: ev.Type.String(), Name: string([]byte(ev.Name)), Time: ev.Time}
}
