package explain

import (
	"fmt"
	"slices"
	"strings"

	"offerstream/pipeline"
)

// Newest is the newest evaluation that is told; nil: none is.
func (s *Story) Newest() (newest *Evaluation) {
	for i := range s.Campaigns {
		c := &s.Campaigns[i]
		if n := len(c.Evaluations); n > 0 && (newest == nil || c.Evaluations[n-1].at > newest.at) {
			newest = &c.Evaluations[n-1]
		}
	}
	return newest
}

// interest ranks campaigns: those that have sent an offer come first, then those of
// which something is pending, those that were evaluated, and others.
func (c *CampaignStory) interest() int {
	switch {
	case c.Outcomes[pipeline.Fired.String()] > 0:
		return 3
	case c.Outcomes[outcomePending] > 0:
		return 2
	case c.Outcomes[evaluated] > 0:
		return 1
	}
	return 0
}

// at is the log time of the newest evaluation.
func (c *CampaignStory) at() int64 {
	if n := len(c.Evaluations); n > 0 {
		return c.Evaluations[n-1].at
	}
	return pipeline.NoDue
}

// mostNamed bounds the offers that a summary names.
const mostNamed = 3

// summary is the sentence about all campaigns.
func (s *Story) summary() string {
	offers, without := uint64(0), 0
	var named []string
	for i := range s.Campaigns {
		c := &s.Campaigns[i]
		fired := c.Outcomes[pipeline.Fired.String()]
		if offers += fired; fired == 0 {
			without++
			continue
		}
		for _, e := range slices.Backward(c.Evaluations) {
			if e.Offer != nil && !e.Offer.Withheld {
				named = append(named, fmt.Sprintf("%s on %s at %s", e.Campaign, e.Offer.Channel, momentWithDate(e.at, s.zone)))
				break
			}
		}
	}
	text := fmt.Sprintf("%s got %s", s.User[2:], quantity(int64(offers), "offer"))
	if offers == 0 {
		text = s.User[2:] + " got no offer"
	}
	if len(named) > 0 {
		more := ""
		if len(named) > mostNamed {
			named, more = named[:mostNamed], ", and others"
		}
		text += ": " + strings.Join(named, ", ") + more
	}
	if without > 0 && offers > 0 {
		text += fmt.Sprintf("; %s sent none", quantity(int64(without), "campaign"))
	}
	return text + s.waiting() + "."
}

// waiting tells what is pending.
func (s *Story) waiting() string {
	var named []string
	for i := range s.Campaigns {
		for _, e := range slices.Backward(s.Campaigns[i].Evaluations) {
			if e.Outcome != outcomePending {
				continue
			}
			until := "is pending until " + momentWithDate(e.due(), s.zone)
			if asks := e.Steps[len(e.Steps)-1].Asks; asks != "" {
				until = "waits for " + entityWords(asks)
			}
			named = append(named, e.Campaign+" "+until)
			break
		}
	}
	if len(named) == 0 {
		return ""
	}
	more := ""
	if len(named) > mostNamed {
		more = fmt.Sprintf(", and %d others", len(named)-mostNamed)
		named = named[:mostNamed]
	}
	return "; " + strings.Join(named, ", ") + more
}

// due is when a pending evaluation goes on.
func (e *Evaluation) due() int64 { return e.Steps[len(e.Steps)-1].due }
