package config

import (
	"fmt"
	"os"

	"offerstream/pipeline/campaign"
)

// Places tell where in its files the parts of a campaign set are.
type Places struct{ load *load }

// ReadPlaces reads the places of a set that LoadCampaigns accepts.
func ReadPlaces(paths ...string) (*Places, error) {
	files, err := CampaignFiles(paths...)
	if err != nil {
		return nil, err
	}
	l := newLoad()
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading campaigns: %w", err)
		}
		l.file(name, b)
	}
	return &Places{l}, nil
}

// Of adds the place in a file to a problem. If element is not empty, the place is
// that of the element with this text in the list at the problem's path, which may be
// a single text instead of a list.
func (p *Places) Of(problem campaign.Problem, element string) Problem {
	list, ok := p.load.places[key(problem.Path)]
	for i := 0; ok && element != "" && i < len(list.n.Content); i++ {
		if n := list.n.Content[i]; n.Value == element {
			at := start(n)
			return Problem{list.file.name, at.line + 1, at.col + 1, problem.What, problem.Hint}
		}
	}
	return p.load.translate(problem)
}
