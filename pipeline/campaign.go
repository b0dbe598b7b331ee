package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fastjson"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/expr"
	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// A compiled is a compiled campaign, which all its rows share. What each trigger
// reads stands first and close together: among thousands of campaigns, the memory
// of one is rarely in the processor's cache.
type compiled struct {
	entries     []entry // its triggers: those of `any`, else one
	lets        []let
	fresh       int64        // the greatest age of an event; 0: any
	readsBefore bool         // its expressions read anything as before.x
	cond        []*expr.Expr // the conjuncts of `if`
	def         *campaign.Campaign
	triggerID   uint64         // campaign.Campaign.TriggerID
	columns     []string       // the names of the values of its rows
	cells       []value.Value  // the values of its rows, row by row; absent: the row lacks the value
	sequence    [][]*expr.Expr // `where` of each step; nil: no sequence
	dwell       []*dwellTerm   // those of cond that ask for a dwell
	at          *expr.Expr     // the histogram of at.best_hour; nil: no `at`
	choose      *expr.Expr
	score       *expr.Expr
	gates       []ownGate            // in the order in which they are judged
	data        *expr.Template       // nil: the offer has no data
	quiet       *campaign.QuietHours // those of its channel; nil: none, or the offer is no advertising
	keepSent    int                  // how many times of its offers an entity remembers

	items     *itemReads    // what it reads of items; nil: nothing
	expires   *expr.Expr    // offer.expires, where it is an expression
	worth     *expr.Expr    // budget.of; nil: an offer counts as one
	keepAsk   *event.Fields // what an evaluation keeps of its event while it waits for an answer, a grant or an item
	itemNamed bool          // `item` is known in its expressions

	before       []int // the features that its expressions read as before.x
	afterAbsence *event.Fields
}

// An entry is one trigger of a campaign.
type entry struct {
	where     []*expr.Expr
	unless    *campaign.Unless
	within    *expr.Expr   // unless.within, where it is an expression
	ends      []*expr.Expr // the conjuncts of unless.where
	endsOn    names        // the events of unless
	match     keyer
	keepDwell *event.Fields // what an evaluation keeps of its event while it waits for dwell
}

func (c *compiler) campaign(def *campaign.Campaign) {
	path := func(keys ...string) []string { return append([]string{"campaigns", def.ID}, keys...) }
	cp := &compiled{def: def, triggerID: def.TriggerID(), fresh: int64(def.Fresh), keepSent: rememberedSent}
	c.rows(cp)
	w := c.wordingOf(cp)
	c.triggers(cp, w, path)
	for j, src := range def.If {
		report := c.reporter(path("if", strconv.Itoa(j)))
		unwaiting := false
		for _, x := range w.cond.Conjuncts(src, report) {
			if t := c.dwellTerm(w.cond, x, report); t != nil {
				t.conjunct = len(cp.cond)
				cp.dwell = append(cp.dwell, t)
			} else {
				unwaiting = unwaiting || c.strict && c.readsDwell(cp, x)
			}
			cp.cond = append(cp.cond, x)
		}
		if unwaiting && !cp.atSessionEnd() { // at the end of a session all has been waited for
			w.cond.Unwaiting(src, cp.let, report, c.warn(report))
		}
	}
	if def.At != nil {
		cp.at = w.state.Compile(def.At.BestHour, nil, c.reporter(path("at", "best_hour")))
		if cp.at != nil && cp.at.Type.TypeName() != window.Histogram.Type.TypeName() {
			c.problem(path("at", "best_hour"), "a histogram is wanted, this is "+expr.InWords(cp.at.Type.String()), "best_hour: buying_hours, a feature with agg: histogram")
		}
		if def.At.Ahead <= 0 {
			c.problem(path("at"), "at needs `ahead`", "ahead: 24h")
		}
	}
	if def.Choose != "" {
		cp.choose = w.state.Compile(def.Choose, nil, c.reporter(path("choose")))
	}
	if def.Score != "" {
		if cp.score = w.state.Compile(def.Score, nil, c.reporter(path("score"))); cp.score != nil {
			switch cp.score.Type.Kind() {
			case cel.DynKind, cel.IntKind, cel.UintKind, cel.DoubleKind:
			default:
				c.problem(path("score"), "a number is wanted, this is "+expr.InWords(cp.score.Type.String()), "score: spent / 100.0")
			}
		}
	}
	if def.Offer.Kind != campaign.Advertising && def.Offer.Kind != campaign.Service {
		c.problem(path("offer", "kind"), fmt.Sprintf("%q is not a kind of offer", def.Offer.Kind), "advertising or service")
	}
	if !campaign.Channel(def.Offer.Channel) {
		hint := "1 to 32 of a-z, 0-9, _ and -"
		if small := strings.ToLower(def.Offer.Channel); campaign.Channel(small) {
			hint = "write " + small
		}
		c.problem(path("offer", "channel"), fmt.Sprintf("%q is not a channel's name", def.Offer.Channel), hint)
	}
	whenDue := c.where(w.state, def.WhenDue, path("when_due"))
	if q := c.set.def.Quiet; q != nil && def.Offer.Kind == campaign.Advertising && slices.Contains(q.Channels, def.Offer.Channel) {
		cp.quiet = q
	}
	cp.gates = c.gates(cp, whenDue)
	shown := c.shown(cp, w)
	inData := func(within []string, line, col int, what, hint string) {
		c.reporter(append(path("offer", "data"), within...))(line, col, what, hint)
	}
	cp.data = shown.Template(def.Offer.Data, inData)
	if c.strict {
		shown.Placeholders(def.Offer.Data, inData, func(within []string, line, col int, what, hint string) {
			c.warn(c.reporter(append(path("offer", "data"), within...)))(line, col, what, hint)
		})
	}
	cp.expires = c.span(w.state, def.Offer.ExpiresIs, int64(def.Offer.AtMost), path("offer", "expires"))
	c.budget(cp, w, path)
	c.itemsOf(cp, whenDue, path)
	c.beforeOf(cp, whenDue, path)
	c.keptLater(cp, whenDue)
	for _, l := range def.Limits {
		cp.keepSent = max(cp.keepSent, l.Max)
	}
	c.set.spends = c.set.spends || cp.asksBudget()
	c.units(cp)
}

// absent is the kind of a value that a row lacks.
const absent = value.Kind(255)

// rows reads the values of the campaign's rows.
func (c *compiler) rows(cp *compiled) {
	var p fastjson.Parser
	each := func(fn func(row int, name string, v *fastjson.Value)) {
		for i, r := range cp.def.Rows {
			v, err := value.Parse(&p, r.Values)
			if err != nil || v.Type() != fastjson.TypeObject {
				c.problem([]string{"campaigns", cp.def.ID, "for_each"}, fmt.Sprintf("the values of row %q are not a JSON object", r.ID), "")
				return
			}
			value.VisitFirst(v.GetObject(), func(name string, v *fastjson.Value) { fn(i, name, v) })
		}
	}
	each(func(_ int, name string, _ *fastjson.Value) {
		if !slices.Contains(cp.columns, name) {
			cp.columns = append(cp.columns, strings.Clone(name))
		}
	})
	if c.failed() {
		return
	}
	n := len(cp.columns)
	cp.cells = make([]value.Value, n*len(cp.def.Rows))
	for i := range cp.cells {
		cp.cells[i].Kind = absent
	}
	each(func(row int, name string, v *fastjson.Value) {
		cell := &cp.cells[row*n+slices.Index(cp.columns, name)]
		if text := value.AliasText(v); v.Type() == fastjson.TypeString && text == cp.def.Rows[row].ID {
			*cell = value.OfString(cp.def.Rows[row].ID) // the same memory
		} else {
			*cell = value.OfJSON(v)
		}
	})
}

// value is a value of the unit's row.
func (u *unit) value(name string) (value.Value, bool) {
	if u == nil || u.row == noRow {
		return value.Value{}, false
	}
	i := slices.Index(u.columns, name)
	if i < 0 {
		return value.Value{}, false
	}
	v := u.cells[int(u.row)*len(u.columns)+i]
	return v, v.Kind != absent
}

// units adds what is evaluated of a campaign to the set.
func (c *compiler) units(cp *compiled) {
	add := func(u unit) {
		if cp.atSessionEnd() {
			c.set.sessionEnds = append(c.set.sessionEnds, len(c.set.units))
		}
		c.set.unitIndex[u.id] = int32(len(c.set.units))
		c.set.units = append(c.set.units, u)
	}
	if len(cp.def.Rows) == 0 {
		add(unit{cp, cp.def.ID, cp.triggerID, noRow})
	}
	for i := range cp.def.Rows {
		def := &cp.def.Rows[i]
		add(unit{cp, cp.def.ID + "/" + def.ID, cp.triggerID ^ xxhash.Sum64(def.Values), int32(i)})
	}
}

// triggers compiles what triggers a campaign.
func (c *compiler) triggers(cp *compiled, w wording, path func(...string) []string) {
	def := cp.def
	one := func(t campaign.Trigger, path func(...string) []string) {
		e := entry{where: c.where(w.about, t.Where, path("where")), unless: t.Unless}
		if u := t.Unless; u != nil {
			e.ends, e.endsOn = c.where(c.ending(cp, w), u.Where, path("unless", "where")), namesOf(u.On)
			c.set.ends.add(u.On)
			e.match = c.keyer(c.ending(cp, w), u.Match, path("unless", "match"))
			e.within = c.span(w.state, u.WithinIs, int64(u.AtMost), path("unless", "within"))
			if u.Within <= 0 && u.WithinIs == "" {
				c.problem(path("unless"), "unless needs `within`", "within: 1h")
			}
		}
		cp.entries = append(cp.entries, e)
	}
	for i, t := range def.Any {
		one(t, func(keys ...string) []string { return path(append([]string{"any", strconv.Itoa(i)}, keys...)...) })
	}
	if len(def.Any) == 0 {
		one(campaign.Trigger{Where: def.Where, Unless: def.Unless}, path)
	}
	if def.Sequence != nil {
		for i, st := range def.Sequence.Steps {
			cp.sequence = append(cp.sequence, c.where(w.about, st.Where, path("sequence", "steps", strconv.Itoa(i), "where")))
		}
		if def.Sequence.Within <= 0 {
			c.problem(path("sequence"), "sequence needs `within`", "within: 1h")
		}
		if len(def.Sequence.Steps) < 2 {
			c.problem(path("sequence", "steps"), "a sequence has two steps or more", "steps: [{on: Product Viewed}, {on: Product Added}]")
		}
	}
}

// ending is the language of `unless`, whose events exist even where the trigger
// is none.
func (c *compiler) ending(cp *compiled, w wording) *expr.Language {
	if !cp.atSessionEnd() {
		return w.about
	}
	rows := c.rowNames(cp)
	return c.worded(rows, rows, false, false).about
}

func (c *compiled) atSessionEnd() bool { return slices.Equal(c.def.On, []string{campaign.SessionEnd}) }

// holds reports whether its offers wait for the end of the quiet hours.
func (c *compiled) holds() bool { return c.quiet != nil && !c.quiet.Drop }

// waits reports whether evaluations of the campaign may wait after its trigger.
func (c *compiled) waits() bool {
	return len(c.dwell) > 0 || c.def.At != nil || c.holds() || slices.ContainsFunc(c.entries, func(e entry) bool { return e.unless != nil })
}

// each calls fn with each expression that the campaign evaluates after `where`,
// with its place.
func (c *compiled) each(whenDue []*expr.Expr, fn func(place string, x *expr.Expr)) {
	some := func(place string, all ...*expr.Expr) {
		for _, x := range all {
			if x != nil {
				fn(place, x)
			}
		}
	}
	some("if", c.cond...)
	some("when_due", whenDue...)
	some("at", c.at)
	some("choose", c.choose)
	some("score", c.score)
	for i := range c.entries {
		some("unless", c.entries[i].within)
	}
	some("offer", c.expires)
	some("budget", c.worth)
	if c.data != nil {
		c.data.Each(func(x *expr.Expr) { fn("offer", x) })
	}
}

// reads calls fn with each name that an expression reads, also through `let`.
func (c *compiled) reads(x *expr.Expr, fn func(name string)) {
	for _, name := range x.Reads {
		fn(name)
		if l := c.let(name); l != nil {
			c.reads(l, fn)
		}
	}
}

func (c *compiled) let(name string) *expr.Expr {
	for i := range c.lets {
		if c.lets[i].name == name {
			return c.lets[i].expr
		}
	}
	return nil
}

// beforeOf finds what the campaign reads as before.x, and refuses it where the
// event may be long past.
func (c *compiler) beforeOf(cp *compiled, whenDue []*expr.Expr, path func(...string) []string) {
	cp.each(whenDue, func(place string, x *expr.Expr) {
		refused := false
		cp.reads(x, func(name string) {
			of, ok := strings.CutPrefix(name, "before.")
			if !ok {
				return
			}
			i, ok := c.set.featureIndex[of]
			if ok && c.set.features[i].per > 0 {
				return // the evaluation keeps what it reads of items
			}
			cp.readsBefore, c.set.readsBefore = true, true
			if ok && !slices.Contains(cp.before, i) {
				cp.before = append(cp.before, i)
			}
			if refused || place == "if" || place != "when_due" && place != "at" && !cp.waits() {
				return
			}
			refused = true
			c.problem(path(place), fmt.Sprintf("%s is not known here: the offer may go out long after the event", name), "before.x can be used in `if`, and in choose, score and templates of a campaign that never waits")
		})
	})
}

// keptLater finds what a campaign's expressions read of the event after a wait.
func (c *compiler) keptLater(cp *compiled, whenDue []*expr.Expr) {
	if c.failed() {
		return
	}
	var later, dwell event.Fields
	add := func(to *event.Fields, x *expr.Expr) {
		x.AddFields(to)
		cp.reads(x, func(name string) {
			if l := cp.let(name); l != nil {
				l.AddFields(to)
			}
		})
	}
	cp.each(whenDue, func(place string, x *expr.Expr) {
		add(&dwell, x)
		if place != "if" {
			add(&later, x)
		}
	})
	if cp.items != nil && cp.items.whole {
		later.AddItems()
		dwell.AddItems()
	}
	if cp.items != nil || cp.asksBudget() {
		cp.keepAsk = c.shared(dwell.Clone())
	}
	cp.afterAbsence = c.shared(later)
	for i := range cp.entries {
		e := &cp.entries[i]
		kept := dwell.Clone()
		if e.match.expr != nil {
			add(&kept, e.match.expr)
		}
		if e.match.name != "" {
			kept.AddItems()
		}
		e.keepDwell = c.shared(kept)
	}
}

// dwellTerm recognises a conjunct that asks whether a dwell is long enough. It
// returns nil for any other.
func (c *compiler) dwellTerm(l *expr.Language, x *expr.Expr, report expr.Report) *dwellTerm {
	least, ok := l.Least(x, report)
	if !ok {
		return nil
	}
	i, ok := c.set.featureIndex[least.Name]
	if !ok || !c.set.features[i].shape.Stays || (least.Key == nil) != !c.set.features[i].grouped() {
		return nil
	}
	return &dwellTerm{feature: i, key: least.Key, need: least.Need}
}
