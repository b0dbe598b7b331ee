package scenario

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline"
	"offerstream/pipeline/event"
	"offerstream/pipeline/explain"
)

// An Explanation is what must be told of a user's last evaluation, of one campaign or
// of all.
type Explanation struct {
	User      string
	Anonymous bool
	Campaign  string // with its row: name/row; "": of all
	Sentence  string // the explanation contains this; "": any
	Outcome   string // "": any
	Stage     string // "": any
}

// A Told is what is told of a user's last evaluation. Outcome and Stage are empty if
// there was none.
type Told struct {
	Sentence string
	Outcome  string
	Stage    string
}

const explanationHint = "write the user and the campaign: ada bag-fan"

// ReadExplanation reads of whom an explanation is: a user, and a campaign or one of
// its rows, or none.
func ReadExplanation(text string) (x Explanation, wrong *Mistake) {
	w := &words{text: text}
	if x.User, x.Anonymous, wrong = user(w); wrong != nil || w.done() {
		return x, wrong
	}
	from := w.at
	x.Campaign = w.plain().text
	if strings.ContainsAny(x.Campaign, `="`) {
		return x, &Mistake{from, fmt.Sprintf("%q is not a campaign's name", x.Campaign), explanationHint}
	}
	if !w.done() {
		return x, &Mistake{w.at, fmt.Sprintf("unexpected %q", w.rest()), explanationHint}
	}
	return x, nil
}

// Of is of whom the explanation is, as ReadExplanation reads it.
func (x Explanation) Of() string {
	user := show(x.User, "~")
	if x.Anonymous {
		user = "~" + show(x.User, "")
	}
	return strings.TrimSuffix(user+" "+x.Campaign, " ")
}

func (x Explanation) key() string { return event.UserKey(x.User, x.Anonymous) }

// Stages are the stages that an explanation can name, in order.
func Stages() []string {
	return []string{"trigger", "ask", "dwell", "absence", "delay", "hold", "gates", "choice", "channel", "grant", "out"}
}

// ExplainedOutcomes are the outcomes that an explanation can name.
func ExplainedOutcomes() (names []string) {
	for _, o := range pipeline.Outcomes() {
		names = append(names, o.String())
	}
	return append(names, "pending", "moved")
}

// unlimited is a backtest whose recorder does not limit it to its users.
type unlimited struct{ *pipeline.Backtest }

func (unlimited) Only(...string) {}

// watch makes a recorder of the users of whom something must be told; nil if there are
// none, because recording takes time.
func (s *Scenario) watch(b *pipeline.Backtest) *explain.Recorder {
	if len(s.Explains) == 0 {
		return nil
	}
	var keys []string
	for _, x := range s.Explains {
		keys = append(keys, x.key())
	}
	slices.Sort(keys)
	r := explain.New(slices.Compact(keys)...)
	r.Watch(unlimited{b})
	return r
}

// told is what the recorder tells, for each of s.Explains.
func (s *Scenario) told(r *explain.Recorder) (all []Told) {
	for _, x := range s.Explains {
		story := r.Story(explain.Query{User: x.key(), Campaign: x.Campaign, Newest: 1, Zone: s.Day.Zone})
		t := Told{Sentence: story.Sentence}
		if e := story.Newest(); e != nil {
			t = Told{e.Sentence, e.Outcome, e.Stage}
		}
		all = append(all, t)
	}
	return all
}

// Tells reports whether what is told contains the expected sentence.
func (x Explanation) Tells(t Told) bool {
	plain := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	return strings.Contains(plain(t.Sentence), plain(x.Sentence))
}

// differences describes what is told otherwise than expected; "" if nothing is.
func (x Explanation) differences(t Told) string {
	var b strings.Builder
	no := func(what, got, want string) {
		switch {
		case want == "" || got == want:
		case got == "":
			fmt.Fprintf(&b, "    there was no evaluation, expected %s %s\n", what, want)
		default:
			fmt.Fprintf(&b, "    %s is %s, expected %s\n", what, got, want)
		}
	}
	no("outcome", t.Outcome, x.Outcome)
	no("stage", t.Stage, x.Stage)
	switch {
	case !x.Tells(t):
		fmt.Fprintf(&b, "    - %s\n    + %s\n", x.Sentence, t.Sentence)
	case b.Len() > 0:
		fmt.Fprintf(&b, "    it is told: %s\n", t.Sentence)
	}
	if b.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("  explanation of %s (- expected in it, + actual):\n%s", x.Of(), b.String())
}
