package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
	"offerstream/pipeline/campaign"
)

// A Page is what a report shows: one run, or two runs over the same events side by
// side.
type Page struct {
	Title      string // what it is about; "": Backtest
	Source     string // the file of events, or the deployment
	Zone       *time.Location
	Runs       []Run
	Comparison *backtest.Comparison // nil: there is one run
}

// A Run is a run of a set.
type Run struct {
	Name     string // of the set: its path
	Result   *backtest.Result
	Series   *Series
	Examples []Example
}

// An Example is an evaluation of a user, in words.
type Example struct {
	Campaign string // the id of its unit
	User     string
	Outcome  string
	At       string // log time, with its date, in the zone of the page
	Sentence string
}

//go:embed page.html
var pageText string

var page = sync.OnceValue(func() *template.Template { return template.Must(template.New("page").Parse(pageText)) })

// mostCampaigns bounds the campaigns that a page shows.
const mostCampaigns = 100

// Shown are the campaigns that a page of these results shows, sorted: of many those
// with the most offers. more is how many it leaves out.
func Shown(results ...*backtest.Result) (ids []string, more int) {
	return backtest.Foremost(mostCampaigns, results...)
}

// Write writes the page.
func (p *Page) Write(w io.Writer) error { return page().Execute(w, p.view()) }

// A view is what page.html shows.
type view struct {
	Title, Source, Zone string
	From, To            string
	Names               []string // of the runs
	Two                 bool
	Figures             []figure
	Campaigns           []campaignView
	More                int // campaigns that are not shown
	Outcomes            []meaning
}

// A figure is a number for each run.
type figure struct {
	What   string
	Values []string
	Change string // from the first run to the second
}

type meaning struct {
	Word string
	Text template.HTML
}

type campaignView struct {
	ID      string
	Missing string // the run that lacks it
	Figures []figure
	Changes []figure
	Sides   []sideView
}

// A sideView is a campaign in one run.
type sideView struct {
	Run      string
	Over     template.HTML
	Top      string
	From, To string
	Week     template.HTML
	Hours    []string // labels of the week's columns
	Weekdays []string
	Any      bool // an offer went out
	Funnel   []stage
	Failures []backtest.Failure
	Examples []Example
}

// A stage is a bar of the funnel: what was left, or what a reason took away.
type stage struct {
	What, Meaning string
	N, Share      string
	Bar           template.HTML
	Left          bool // it counts what was left
}

// coded is a text in which what stands between backquotes is code.
func coded(text string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			part = "<code>" + template.HTMLEscapeString(part) + "</code>"
		} else {
			part = template.HTMLEscapeString(part)
		}
		b.WriteString(part)
	}
	return template.HTML(b.String())
}

const dateTime = "2006-01-02 15:04"

func (p *Page) view() *view {
	v := &view{Title: cmp.Or(p.Title, "Backtest"), Source: p.Source, Zone: p.Zone.String(), Two: len(p.Runs) > 1}
	first, last := p.extent()
	if last >= first {
		v.From, v.To = time.Unix(0, first).In(p.Zone).Format(dateTime), time.Unix(0, last).In(p.Zone).Format(dateTime)
	}
	var results []*backtest.Result
	for _, r := range p.Runs {
		v.Names = append(v.Names, r.Name)
		results = append(results, r.Result)
	}
	var ids []string
	ids, v.More = Shown(results...)
	v.Figures = []figure{
		p.figure("events", func(r *Run) uint64 { return r.Result.Events }),
		p.figure("users", func(r *Run) uint64 { return r.Result.Users }),
		p.figure("offers", func(r *Run) uint64 { return r.total(pipeline.Fired) }),
		p.figure("users reached", func(r *Run) uint64 { return r.reached() }),
	}
	if p.any(func(r *Run) uint64 { return r.total(pipeline.Withheld) }) {
		v.Figures = append(v.Figures, p.figure("withheld", func(r *Run) uint64 { return r.total(pipeline.Withheld) }))
	}
	met := map[pipeline.Outcome]bool{}
	for _, id := range ids {
		v.Campaigns = append(v.Campaigns, p.campaign(id, first, last, met))
	}
	for _, o := range pipeline.Outcomes() {
		if met[o] {
			v.Outcomes = append(v.Outcomes, meaning{o.String(), coded(o.Meaning())})
		}
	}
	return v
}

// extent is the time of all runs.
func (p *Page) extent() (first, last int64) {
	for i, r := range p.Runs {
		if i == 0 {
			first, last = r.Result.First, r.Result.Last
		}
		first, last = min(first, r.Result.First), max(last, r.Result.Last)
	}
	return first, last
}

func (p *Page) any(of func(*Run) uint64) bool {
	return slices.ContainsFunc(p.Runs, func(r Run) bool { return of(&r) > 0 })
}

func (p *Page) figure(what string, of func(*Run) uint64) figure {
	f := figure{What: what}
	for i := range p.Runs {
		f.Values = append(f.Values, grouped(of(&p.Runs[i])))
	}
	if len(p.Runs) == 2 {
		f.Change = change(of(&p.Runs[0]), of(&p.Runs[1]))
	}
	return f
}

// change is the difference between two numbers: +12, -3.
func change(a, b uint64) string {
	switch {
	case b > a:
		return "+" + grouped(b-a)
	case b < a:
		return "\u2212" + grouped(a-b)
	}
	return "the same"
}

func (r *Run) total(o pipeline.Outcome) (n uint64) {
	for _, c := range r.Result.Campaigns {
		n += c.Ended[o]
	}
	return n
}

func (r *Run) reached() uint64 {
	users := map[string]bool{}
	for _, c := range r.Result.Campaigns {
		maps.Copy(users, c.Users)
	}
	return uint64(len(users))
}

func (p *Page) campaign(id string, first, last int64, met map[pipeline.Outcome]bool) campaignView {
	c := campaignView{ID: id}
	count := func(of func(*backtest.Campaign) uint64) func(*Run) uint64 {
		return func(r *Run) uint64 {
			if in := r.Result.Campaigns[id]; in != nil {
				return of(in)
			}
			return 0
		}
	}
	c.Figures = []figure{
		p.figure("offers", count(func(c *backtest.Campaign) uint64 { return c.Ended[pipeline.Fired] })),
		p.figure("users reached", count(func(c *backtest.Campaign) uint64 { return uint64(len(c.Users)) })),
		p.figure("evaluations", count(func(c *backtest.Campaign) uint64 { return c.Evaluated })),
	}
	pending := count(func(c *backtest.Campaign) uint64 { return c.Pending() })
	if p.any(pending) {
		c.Figures = append(c.Figures, p.figure("pending", pending))
	}
	if p.Comparison != nil {
		if ch := p.Comparison.Campaigns[id]; ch != nil {
			for _, f := range []struct {
				what string
				n    uint64
			}{{"offers that stay", ch.Same}, {"offers at another time", ch.Moved}, {"offers gained", ch.Gained}, {"offers lost", ch.Lost}, {"users reached by both", ch.BothUsers}} {
				c.Changes = append(c.Changes, figure{What: f.what, Values: []string{grouped(f.n)}})
			}
		}
	}
	top := uint64(0)
	var bars [][]bar
	for i := range p.Runs {
		of := p.Runs[i].Series.bars(id, first, last)
		bars = append(bars, of)
		for _, b := range of {
			top = max(top, b.N)
		}
	}
	for i := range p.Runs {
		r := &p.Runs[i]
		in := r.Result.Campaigns[id]
		if in == nil {
			c.Missing = r.Name
			continue
		}
		s := sideView{Run: r.Name, Over: timeChart(bars[i], top), Top: grouped(top), Week: weekChart(r.Series.of(id)), Weekdays: weekdays[:], Any: in.Ended[pipeline.Fired] > 0, Failures: in.Failures, Funnel: funnel(in, met)}
		if n := len(bars[i]); n > 0 {
			s.From, s.To = bars[i][0].From.Format(dateTime), bars[i][n-1].To.Format(dateTime)
		}
		for _, e := range r.Examples {
			if campaign.NameOf(e.Campaign) == id {
				s.Examples = append(s.Examples, e)
			}
		}
		c.Sides = append(c.Sides, s)
	}
	return c
}

// stages are the outcomes in the order in which an evaluation can meet them.
var stages = []pipeline.Outcome{
	pipeline.Condition, pipeline.Cancelled, pipeline.Superseded, pipeline.Paused, pipeline.Period, pipeline.Age, pipeline.WhenDue, pipeline.NoConsent, pipeline.Limit, pipeline.Cap,
	pipeline.Pause, pipeline.Quiet, pipeline.Duplicate, pipeline.NoChoice, pipeline.Failed, pipeline.Outranked, pipeline.Withheld,
}

// funnel are the evaluations of a campaign, then what each reason took away, then the
// offers.
func funnel(c *backtest.Campaign, met map[pipeline.Outcome]bool) []stage {
	add := func(what, meaning string, n uint64, class string) stage {
		return stage{What: what, Meaning: meaning, N: grouped(n), Share: percent(n, c.Evaluated), Bar: share(n, c.Evaluated, class), Left: class == "left"}
	}
	all := []stage{add("evaluations", "a trigger came", c.Evaluated, "left")}
	for _, o := range stages {
		if n := c.Ended[o]; n > 0 {
			met[o] = true
			all = append(all, add(o.String(), o.Meaning(), n, "gone"))
		}
	}
	if n := c.Pending(); n > 0 {
		all = append(all, add("pending", "still waiting at the end", n, "gone"))
	}
	return append(all, add("offers", "went out", c.Ended[pipeline.Fired], "left"))
}

func percent(n, of uint64) string {
	if of == 0 {
		return "0%"
	}
	p := 100 * float64(n) / float64(of)
	if p >= 10 || p == 0 {
		return fmt.Sprintf("%.0f%%", p)
	}
	return fmt.Sprintf("%.1f%%", p)
}

// grouped writes a number with commas between thousands.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
