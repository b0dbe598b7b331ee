package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"offerstream/pipeline/lazyregexp"
	"offerstream/pipeline/scenario"
)

// Record writes what was recorded of a user as a scenario file with this name, which
// passes. campaigns is the path of the campaign file or directory from there. same is
// false if the scenario's offers are not those of the log.
func (s *Scenarios) Record(name, campaigns string, r *scenario.Recording) (text []byte, same bool, err error) {
	return s.record(name, "campaigns: "+pathText(campaigns)+"\n", r)
}

// record is Record with the lines that name the campaigns.
func (s *Scenarios) record(name, campaigns string, r *scenario.Recording) (text []byte, same bool, err error) {
	lines, err := r.Lines()
	if err != nil {
		return nil, false, err
	}
	head, body := recordedHead(lines, r), recordedBody(lines, campaigns)
	f, err := s.read(name, []byte(body+"    expect: none\n"))
	if err != nil {
		return nil, false, fmt.Errorf("writing the scenario: %w", err)
	}
	result, err := f.Scenarios[0].Run()
	if err != nil {
		return nil, false, fmt.Errorf("running the scenario: %w", err)
	}
	same = r.Same(result)
	if !same {
		head += "# The offers differ from those of the log under these campaigns, because of what\n# was left out or replaced. In the log they are:\n"
		for _, o := range r.Offers() {
			o.User, o.AnyData = strings.TrimPrefix(lines.User, "~"), true
			head += "#   " + o.Show(lines.Day) + "\n"
		}
	}
	text = []byte(head + body + recordedResult(lines, result))
	if f, err = s.read(name, text); err != nil {
		return nil, false, fmt.Errorf("reading the scenario that was written: %w", err)
	}
	if result, err = f.Scenarios[0].Run(); err != nil {
		return nil, false, fmt.Errorf("running the scenario that was written: %w", err)
	}
	if wrong := f.Scenarios[0].Compare(result); wrong != "" {
		return nil, false, fmt.Errorf("the scenario that was written does not pass; please report this:\n%s", wrong)
	}
	return text, same, nil
}

// plainPath are paths that YAML reads as text.
var plainPath = lazyregexp.New(`^[A-Za-z./][\w./-]*$`)

// pathText writes a path, quoted if YAML would read it differently.
func pathText(path string) string {
	if plainPath.MatchString(path) {
		return path
	}
	return quoted(path)
}

// recordedHead are the comments that tell where the scenario comes from.
func recordedHead(lines *scenario.Recorded, r *scenario.Recording) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by offerctl test --from-user. The offers and outcomes are those of now:\n# change them to what they should be. %s is the user.\n", lines.User)
	if r.Older > 0 {
		fmt.Fprintf(&b, "# Left out: the user's %d older events. What counts further back than the first\n# event here starts at 0.\n", r.Older)
	}
	if len(lines.Replaced) > 0 {
		fmt.Fprintf(&b, "# Replaced besides the user's id: the values of %s.\n", strings.Join(lines.Replaced, ", "))
	}
	return b.String()
}

func recordedBody(lines *scenario.Recorded, campaigns string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%stimes: {date: %s", campaigns, lines.Day.Date)
	if lines.Zone != "" {
		fmt.Fprintf(&b, ", zone: %s", lines.Zone)
	}
	fmt.Fprintf(&b, "}\nscenarios:\n  %s on %s:\n    events:\n", lines.User, lines.Day.Date)
	for _, l := range lines.Lines {
		fmt.Fprintf(&b, "      - %s\n", yamlText(l))
	}
	return b.String()
}

// recordedResult writes the offers and outcomes of a run as what is expected.
func recordedResult(lines *scenario.Recorded, r *scenario.Result) string {
	var b strings.Builder
	b.WriteString("    expect:")
	if len(r.Offers) == 0 {
		b.WriteString(" none")
	}
	b.WriteByte('\n')
	for _, o := range r.Offers {
		fmt.Fprintf(&b, "      - %s\n", yamlText(o.Show(lines.Day)))
	}
	campaigns := map[string]bool{}
	for unit, of := range r.Outcomes {
		if name, _, _ := strings.Cut(unit, "/"); of["evaluated"] > 0 {
			campaigns[name] = true
		}
	}
	if len(campaigns) > 0 {
		b.WriteString("    outcomes:\n")
	}
	for _, name := range slices.Sorted(maps.Keys(campaigns)) {
		var parts []string
		of := r.Of(name)
		for _, outcome := range scenario.OutcomeNames() {
			if of[outcome] > 0 {
				parts = append(parts, fmt.Sprintf("%s: %d", outcome, of[outcome]))
			}
		}
		fmt.Fprintf(&b, "      %s: {%s}\n", name, strings.Join(parts, ", "))
	}
	if r.Duplicates > 0 {
		fmt.Fprintf(&b, "    duplicates: %d\n", r.Duplicates)
	}
	return b.String()
}
