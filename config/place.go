package config

import (
	"offerstream/pipeline/campaign"
)

// Places tell where in its files the parts of a campaign set are.
type Places struct{ load *load }

// ReadPlaces reads the places of a set that LoadCampaigns accepts.
func ReadPlaces(paths ...string) (*Places, error) {
	l, err := readFiles(paths)
	if err != nil {
		return nil, err
	}
	return &Places{l}, nil
}

// Finding is a problem under a rule, at its place in a file. If element is not empty,
// the place is that of the element with this text in the list at the problem's path,
// which may be a single text instead of a list.
func (p *Places) Finding(rule string, problem campaign.Problem, element string) Finding {
	f := Finding{Problem: p.load.translate(problem), Rule: rule, Level: ruleNamed(rule).Level}
	list, ok := p.load.places[key(problem.Path)]
	for i := 0; ok && element != "" && i < len(list.n.Content); i++ {
		if n := list.n.Content[i]; n.Value == element {
			at := start(n)
			f.File, f.Line, f.Col = list.file.name, at.line+1, at.col+1
		}
	}
	f.EndCol = p.load.endOf(f.Problem)
	return f
}
