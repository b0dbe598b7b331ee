package survey

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
)

// A term is a conjunct of a `where`. Campaigns with the same conjunct share it. A
// pipeline.TriggerTrace would tell the same, once for each event and campaign, of at
// most the first 100 rows; thousands of campaigns or rows would take hours. So
// conjuncts that compare a text of the event for equality, as most do, are counted
// by that text, and of rows it is counted whether the conjunct holds for any.
type term struct {
	x    *expr.Expr
	path []string        // of an equality
	is   map[string]bool // the values (keyOf) with which it holds
	rows []*rowScope     // those to try; nil: it reads no row
	more bool            // there are rows that are not tried
	held map[*kind]uint64
	err  error // the last one with which it failed
}

// A found counts equalities about one path.
type found struct {
	path  []string
	terms map[string][]*term
}

// A judgedTrigger is a trigger with its conjuncts.
type judgedTrigger struct {
	triggerOf
	ends  bool // it is what `unless` waits for
	terms []*term
}

// A judge judges the conjuncts of `where` of all triggers.
type judge struct {
	env      *cel.Env
	shared   *expr.Language
	terms    map[*expr.Expr]*term       // of campaigns without rows and `let`
	triggers map[string][]judgedTrigger // of campaigns, by their ids
	features []judgedTrigger            // what features take
}

// mostRows bounds the rows, or their different values, for which a conjunct is tried
// that is no equality.
const mostRows = 64

func newJudge(def *campaign.Definition) (*judge, error) {
	env, err := expr.NewEnv()
	if err == nil {
		env, err = env.Extend(cel.Variable("now", cel.TimestampType), cel.Variable("event", expr.Event.Type))
	}
	if err != nil {
		return nil, fmt.Errorf("CEL: %w", err)
	}
	j := &judge{env: env, shared: language(env), terms: map[*expr.Expr]*term{}, triggers: map[string][]judgedTrigger{}}
	for i := range def.Campaigns {
		j.campaign(&def.Campaigns[i])
	}
	for i := range def.Features {
		f := &def.Features[i]
		jt := judgedTrigger{triggerOf: triggerOf{path: []string{"features", f.Name}, on: f.On, where: f.Where}}
		j.conjuncts(&jt, j.shared, nil, &rowScope{})
		j.features = append(j.features, jt)
	}
	return j, nil
}

func language(env *cel.Env) *expr.Language {
	return expr.NewLanguage(env, expr.Names{
		Feature: func(string) (expr.Feature, bool) { return expr.Feature{}, false },
		Hint:    func(string) string { return "" },
		Getter: func(name string) expr.Getter {
			column, ok := strings.CutPrefix(name, "row.")
			if !ok {
				return nil
			}
			return func(sc expr.Scope) (value.Value, bool) {
				v, ok := sc.(*rowScope).row[column]
				return v, ok
			}
		},
	})
}

func silent(int, int, string, string) {}

func (j *judge) campaign(def *campaign.Campaign) {
	l, sc := j.shared, &rowScope{}
	rows := newRows(def)
	if len(rows.columns) > 0 || len(def.Let) > 0 {
		env := j.env
		for name := range rows.columns {
			env = withName(env, "row."+name, cel.DynType)
		}
		sc.lets = map[string]*expr.Expr{}
		for _, let := range def.Let {
			l = language(env)
			if x := l.Compile(let.Is, nil, silent); x != nil { // else it is about state
				sc.lets[let.Name] = x
				env = withName(env, let.Name, x.Type)
			}
		}
		l = language(env)
	}
	for _, t := range triggersOf(def) {
		all := []judgedTrigger{{triggerOf: t}}
		if u := t.unless; u != nil {
			all = append(all, judgedTrigger{triggerOf: triggerOf{path: append(slices.Clone(t.path), "unless"), on: u.On, where: u.Where}, ends: true})
		}
		for _, jt := range all {
			j.conjuncts(&jt, l, rows, sc)
			j.triggers[def.ID] = append(j.triggers[def.ID], jt)
		}
	}
}

// conjuncts adds the terms of a trigger's `where`.
func (j *judge) conjuncts(jt *judgedTrigger, l *expr.Language, rows *rows, sc *rowScope) {
	if jt.where == "" {
		return
	}
	for _, x := range l.Conjuncts(jt.where, silent) {
		jt.terms = append(jt.terms, j.term(x, l == j.shared, rows, sc))
	}
}

func withName(env *cel.Env, name string, t *cel.Type) *cel.Env {
	if more, err := env.Extend(cel.Variable(name, t)); err == nil {
		return more
	}
	return env
}

func (j *judge) term(x *expr.Expr, shared bool, rows *rows, sc *rowScope) *term {
	if t := j.terms[x]; t != nil && shared {
		return t
	}
	t := &term{x: x, held: map[*kind]uint64{}}
	if path, values := x.Equality(); path != nil {
		t.path, t.is = path, map[string]bool{}
		for _, v := range values {
			if v.Row == "" {
				t.is["s"+v.Text] = true
			}
			if v.Row != "" {
				for key := range rows.columns[v.Row] {
					t.is[key] = true
				}
			}
		}
	} else {
		t.rows, t.more = rows.scopes(columnsOf(x, sc.lets), sc)
	}
	if shared {
		j.terms[x] = t
	}
	return t
}

// columnsOf are the names of the row's values that an expression reads, also by way
// of `let`.
func columnsOf(x *expr.Expr, lets map[string]*expr.Expr) (names []string) {
	for _, name := range x.Reads {
		if column, ok := strings.CutPrefix(name, "row."); ok {
			names = append(names, column)
		} else if let := lets[name]; let != nil {
			names = append(names, columnsOf(let, lets)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// meet prepares a kind: which terms are judged of its events.
func (j *judge) meet(k *kind) {
	seen := map[*term]bool{}
	add := func(ts []judgedTrigger) {
		for _, t := range ts {
			if !slices.ContainsFunc(t.on, k.kindKey.named) {
				continue
			}
			for _, term := range t.terms {
				if !seen[term] {
					seen[term] = true
					k.addTerm(term)
				}
			}
		}
	}
	add(j.features)
	for _, ts := range j.triggers {
		add(ts)
	}
}

func (k *kind) addTerm(t *term) {
	if t.path == nil {
		k.judged = append(k.judged, t)
		return
	}
	i := slices.IndexFunc(k.found, func(f found) bool { return slices.Equal(f.path, t.path) })
	if i < 0 {
		i = len(k.found)
		k.found = append(k.found, found{t.path, map[string][]*term{}})
	}
	for key := range t.is {
		k.found[i].terms[key] = append(k.found[i].terms[key], t)
	}
}

// event judges an event, whose event time is set, at log time now.
func (j *judge) event(k *kind, ev *event.Event, now int64) {
	for _, f := range k.found {
		if v := ev.Get(f.path...); v != nil {
			for _, t := range f.terms[keyOfJSON(v)] {
				t.held[k]++
			}
		}
	}
	for _, t := range k.judged {
		if t.holds(ev, now) {
			t.held[k]++
		}
	}
}

// holds reports whether the term holds, for any of the rows.
func (t *term) holds(ev *event.Event, now int64) bool {
	return slices.ContainsFunc(t.rows, func(sc *rowScope) bool {
		sc.now, sc.ev = now, ev
		ok, err := t.x.Holds(sc)
		if err != nil {
			t.err = err
		}
		return ok && err == nil
	})
}

// rows are the rows of a campaign.
type rows struct {
	columns map[string]map[string]bool // the values (keyOf) of each
	all     []map[string]value.Value
}

func newRows(def *campaign.Campaign) *rows {
	rs := &rows{columns: map[string]map[string]bool{}}
	var p fastjson.Parser
	for _, r := range def.Rows {
		v, err := value.Parse(&p, r.Values)
		if err != nil {
			continue
		}
		row := map[string]value.Value{}
		value.VisitFirst(v.GetObject(), func(name string, v *fastjson.Value) {
			name = strings.Clone(name)
			if rs.columns[name] == nil {
				rs.columns[name] = map[string]bool{}
			}
			rs.columns[name][strings.Clone(keyOfJSON(v))] = true
			row[name] = value.OfJSON(v)
		})
		rs.all = append(rs.all, row)
	}
	return rs
}

// scopes are the scopes for which an expression that reads these columns is tried:
// one for each different combination of values. more: there are more than that.
func (rs *rows) scopes(columns []string, sc *rowScope) (all []*rowScope, more bool) {
	if len(columns) == 0 {
		return []*rowScope{sc}, false
	}
	seen := map[string]bool{}
	for _, row := range rs.all {
		key := ""
		for _, name := range columns {
			v, has := row[name]
			key += fmt.Sprintf("%v %v %v %q ", has, v.Kind, v.Bits, v.Str)
		}
		if seen[key] {
			continue
		}
		if len(all) >= mostRows {
			return all, true
		}
		seen[key] = true
		all = append(all, &rowScope{row: row, lets: sc.lets})
	}
	return all, false
}

// A rowScope is what a `where` sees: an event, and a row.
type rowScope struct {
	now  int64
	ev   *event.Event
	row  map[string]value.Value
	lets map[string]*expr.Expr
}

var _ expr.Scope = (*rowScope)(nil)

func (s *rowScope) Parent() interpreter.Activation { return nil }
func (s *rowScope) Now() int64                     { return s.now }
func (s *rowScope) Event() *event.Event            { return s.ev }
func (s *rowScope) Item() *fastjson.Value          { return nil }
func (s *rowScope) Total(int) value.Value          { return value.Value{} }
func (s *rowScope) Under(int, string) value.Value  { return value.Value{} }
func (s *rowScope) Has(int, string) bool           { return false }

func (s *rowScope) ResolveName(name string) (any, bool) {
	if column, ok := strings.CutPrefix(name, "row."); ok {
		if v, ok := s.row[column]; ok {
			return v.CEL(), true
		}
		return types.NewErr("no such key: %s", column), true
	}
	if let := s.lets[name]; let != nil {
		v, err := let.Eval(s)
		if err != nil {
			return types.WrapErr(err), true
		}
		return v, true
	}
	return expr.Common(s, name)
}
