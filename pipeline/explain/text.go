package explain

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"offerstream/pipeline"
	"offerstream/pipeline/value"
)

// WriteText writes the story for people: its sentence, then each campaign with its
// evaluations, and their stages in order.
func (s *Story) WriteText(w io.Writer) error {
	b := &bytes.Buffer{}
	became := ""
	if s.Owner != "" {
		became = fmt.Sprintf(", who has become %s and goes on there", entityWords(s.Owner))
	}
	fmt.Fprintf(b, "%s\n\nUser %s%s, times in %s.\n", s.Sentence, s.User[2:], became, s.zone)
	for i := range s.Campaigns {
		s.campaign(b, &s.Campaigns[i])
	}
	if m := s.More; m != nil {
		fmt.Fprintf(b, "\nand %s, %d of them evaluated: name one, or give --all\n", quantity(int64(m.Campaigns), "more campaign"), m.Evaluated)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (s *Story) campaign(b *bytes.Buffer, c *CampaignStory) {
	fmt.Fprintf(b, "\n%s: %s\n", c.Campaign, outcomesText(c))
	if c.Sentence != s.Sentence {
		fmt.Fprintf(b, "  %s\n", c.Sentence)
	}
	for i := range c.Evaluations {
		s.evaluation(b, &c.Evaluations[i], c.Sentence)
	}
	if c.Nearest != nil {
		t := newColumns(b)
		fmt.Fprintf(b, "\n  %s %s (%s)\n", s.when(c.Nearest.At), eventText(c.Nearest.Event), c.Nearest.Event.ID)
		for _, p := range c.Nearest.Parts {
			fmt.Fprintf(t, "    where\t%s\t%s\t%s\n", mark(p.OK), oneLine(p.Text), p.found())
		}
		t.Flush()
	}
}

// outcomesText counts the outcomes of a campaign's evaluations.
func outcomesText(c *CampaignStory) string {
	n := c.Outcomes[evaluated]
	if n == 0 && c.Outcomes[outcomeMoved] > 0 {
		return fmt.Sprintf("%d moved", c.Outcomes[outcomeMoved])
	}
	if n == 0 {
		return "never evaluated"
	}
	var how []string
	for _, name := range slices.SortedFunc(maps.Keys(c.Outcomes), func(a, b string) int {
		return compareThen(int64(c.Outcomes[b]), int64(c.Outcomes[a]), a, b)
	}) {
		if name != evaluated {
			how = append(how, fmt.Sprintf("%d %s", c.Outcomes[name], name))
		}
	}
	text := fmt.Sprintf("%s: %s", quantity(int64(n), "evaluation"), strings.Join(how, ", "))
	if c.Older > 0 {
		text += fmt.Sprintf(" (%d shown)", len(c.Evaluations))
	}
	return text
}

func compareThen(a, b int64, x, y string) int {
	if c := compare(a, b); c != 0 {
		return c
	}
	return strings.Compare(x, y)
}

func (s *Story) evaluation(b *bytes.Buffer, e *Evaluation, told string) {
	of := e.Campaign
	if e.Key != "" {
		of += fmt.Sprintf(" for %q", e.Key)
	}
	fmt.Fprintf(b, "\n  %s  %s, by %s (%s): %s\n", s.when(e.Began), of, eventText(e.Trigger), e.Trigger.ID, e.Outcome)
	if e.Sentence != s.Sentence && e.Sentence != told {
		fmt.Fprintf(b, "    %s\n", e.Sentence)
	}
	t := newColumns(b)
	for i := range e.Steps {
		st := &e.Steps[i]
		at := moment(st.at, e.began, s.zone)
		if st.From != "" {
			fmt.Fprintf(t, "    %s\t%s\t\tfrom here on the user's, who was %s until then\n", at, outcomeMoved, entityWords(st.From))
			at = ""
		}
		for _, g := range st.Stages {
			for _, p := range g.Parts {
				fmt.Fprintf(t, "    %s\t%s\t%s\t%s\t%s\n", at, g.Stage, mark(p.OK), oneLine(p.Text), p.found())
				at = ""
			}
		}
		switch {
		case st.Asks != "":
			fmt.Fprintf(t, "    %s\t%s\t\twaits for %s\n", at, st.Waits, entityWords(st.Asks))
		case st.Waits != "":
			fmt.Fprintf(t, "    %s\t%s\t\twaits until %s\n", at, st.Waits, moment(st.due, e.began, s.zone))
		case st.Cause != "":
			fmt.Fprintf(t, "    %s\t%s\t\t%s by %s\n", at, e.Stage, st.Ended, causeText(st))
		case len(st.Stages) == 0:
			fmt.Fprintf(t, "    %s\t%s\t\t%s\n", at, e.Stage, st.Ended)
		}
	}
	t.Flush()
	if e.Offer != nil && len(e.Offer.Data) > 0 {
		fmt.Fprintf(b, "    %s\n", shown(e.Offer.Data))
	}
}

// found is what the part found, without its text, which stands beside.
func (p *Part) found() string {
	words := p.Words
	for _, holds := range []string{" is true", " is false"} {
		words = strings.TrimPrefix(words, plain(p.Text)+holds)
	}
	if words != p.Words {
		words = strings.TrimSuffix(strings.TrimPrefix(words, " ("), ")")
	}
	return words
}

// causeText is what has cancelled or superseded an evaluation.
func causeText(st *Step) string {
	cause := st.Cause
	switch pipeline.Cause(st.Cause) {
	case pipeline.ByView:
		cause = "the next view"
	case pipeline.ByUnless:
		cause = "`unless`"
	case pipeline.ByNewer:
		cause = "a newer trigger"
	case pipeline.ByBound:
		cause = "a bound"
	case pipeline.ByChange:
		cause = "a change of the campaign"
	case pipeline.ByMerge:
		cause = "a visitor became this user"
	case pipeline.ByLoss:
		cause = "a loss that an operator has accepted"
	}
	if st.By == nil {
		return cause
	}
	return fmt.Sprintf("%s: %s (%s)", cause, eventText(*st.By), st.By.ID)
}

func eventText(e Event) string {
	switch {
	case e.Name == "":
		return e.Type
	case e.Type == "track" || e.Type == "system" || e.Type == "item":
		return e.Name
	}
	return fmt.Sprintf("%s %q", e.Type, e.Name)
}

// when is a log time with its date.
func (s *Story) when(at string) string {
	t, err := value.ParseTime(at)
	if err != nil {
		return at
	}
	return momentWithDate(t, s.zone)
}

func mark(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

// mostText bounds the text of a condition in a line, in characters.
const mostText = 60

// oneLine is the text of a condition in one line.
func oneLine(text string) string {
	text = plain(text)
	if r := []rune(text); len(r) > mostText {
		return string(r[:mostText-3]) + "..."
	}
	return text
}

func newColumns(b *bytes.Buffer) *tabwriter.Writer { return tabwriter.NewWriter(b, 0, 8, 2, ' ', 0) }
