package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Compare describes, for people, the differences between a result and what the
// scenario expects: lines indented by two spaces, or "" if there are none.
func (s *Scenario) Compare(r *Result) string {
	var b strings.Builder
	for _, reason := range slices.Sorted(maps.Keys(s.reasons(r))) {
		if got, want := r.Rejected[reason], s.Rejected[reason]; got != want {
			fmt.Fprintf(&b, "  rejected: %s is %d, expected %d\n", reason, got, want)
		}
	}
	if sum(r.Rejected) > sum(s.Rejected) {
		for _, what := range r.refused {
			fmt.Fprintf(&b, "    %s\n", what)
		}
	}
	if s.Duplicates != nil && *s.Duplicates != r.Duplicates {
		fmt.Fprintf(&b, "  duplicates are %d, expected %d\n", r.Duplicates, *s.Duplicates)
	}
	if got := s.Compared(r); s.Compares && !s.Expects(got) {
		b.WriteString("  offers (- expected, + actual):\n")
		s.showOffers(&b, got)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Outcomes)) {
		showOutcomes(&b, id, s.Outcomes[id], r.Of(id))
	}
	for i, x := range s.Explains {
		b.WriteString(x.differences(r.Told[i]))
	}
	s.showViews(&b, r.Views)
	return b.String()
}

// Expects reports whether offers are the expected ones.
func (s *Scenario) Expects(got []Offer) bool { return slices.EqualFunc(s.Offers, got, Offer.Same) }

// Compared returns the offers of a result that are compared.
func (s *Scenario) Compared(r *Result) []Offer {
	if len(s.About) == 0 {
		return r.Offers
	}
	var offers []Offer
	for _, o := range r.Offers {
		if s.IsAbout(o.Campaign) {
			offers = append(offers, o)
		}
	}
	return offers
}

// IsAbout reports whether the offers of a campaign are compared. A campaign stands
// for all its rows.
func (s *Scenario) IsAbout(campaign string) bool {
	name, _, _ := strings.Cut(campaign, "/")
	return len(s.About) == 0 || slices.Contains(s.About, campaign) || slices.Contains(s.About, name)
}

// Of returns the outcomes of a campaign: of one row, or of all rows together.
func (r *Result) Of(campaign string) map[string]uint64 {
	if of, ok := r.Outcomes[campaign]; ok {
		return of
	}
	var all map[string]uint64
	for id, of := range r.Outcomes {
		if !strings.HasPrefix(id, campaign+"/") {
			continue
		}
		if all == nil {
			all = map[string]uint64{}
		}
		for name, n := range of {
			all[name] += n
		}
	}
	return all
}

// reasons returns the reasons for which events were rejected or should have
// been.
func (s *Scenario) reasons(r *Result) map[string]bool {
	all := map[string]bool{}
	for reason := range r.Rejected {
		all[reason] = true
	}
	for reason := range s.Rejected {
		all[reason] = true
	}
	return all
}

// around is the number of equal offers that are shown before and after a
// different one.
const around = 3

// showOffers shows the expected and the actual offers as one list, in columns.
func (s *Scenario) showOffers(b *strings.Builder, got []Offer) {
	lines := Align(s.Offers, got)
	var widths [3]int
	rows := make([][]string, len(lines))
	for i, l := range lines {
		rows[i] = l.of(s.Offers, got).columns(s.Day)
		for c := range widths {
			widths[c] = max(widths[c], utf8.RuneCountInString(rows[i][c]))
		}
	}
	same := 0
	for i, l := range lines {
		if l.Sign() == ' ' && !slices.ContainsFunc(lines[max(0, i-around):min(len(lines), i+around+1)], func(l Aligned) bool { return l.Sign() != ' ' }) {
			same++
			continue
		}
		tellSame(b, same)
		same = 0
		row := ""
		for c, text := range rows[i] {
			if c < len(widths) {
				text += strings.Repeat(" ", widths[c]-utf8.RuneCountInString(text))
			}
			row += " " + text
		}
		fmt.Fprintf(b, "    %c%s\n", l.Sign(), strings.TrimRight(row, " "))
	}
	tellSame(b, same)
}

func tellSame(b *strings.Builder, n int) {
	if n > 0 {
		fmt.Fprintf(b, "      ... %d as expected\n", n)
	}
}

// showOutcomes shows a campaign's outcomes that differ from the expected ones,
// and then all of its outcomes.
func showOutcomes(b *strings.Builder, id string, want, got map[string]uint64) {
	var wrong, all []string
	for _, name := range OutcomeNames() {
		if n, listed := want[name]; listed && n != got[name] {
			wrong = append(wrong, fmt.Sprintf("%s is %d, expected %d", name, got[name], n))
		}
		if got[name] > 0 {
			all = append(all, fmt.Sprintf("%s %d", name, got[name]))
		}
	}
	if len(wrong) == 0 {
		return
	}
	if len(all) == 0 {
		all = []string{"it was never evaluated"}
	}
	fmt.Fprintf(b, "  outcomes of %s: %s\n    all of them: %s\n", id, strings.Join(wrong, ", "), strings.Join(all, ", "))
}
