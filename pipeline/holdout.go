package pipeline

import (
	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline/campaign"
)

// holdoutParts is the unit of a holdout's share: 1/10,000.
const holdoutParts = 10_000

// withheld reports whether the user belongs to the control group of the unit, or of
// the set, and so gets no offer of it (LANGUAGE.md, rule 11).
func (e *Entity) withheld(c *liveCampaign) bool {
	if c.def.Offer.Kind != campaign.Advertising {
		return false
	}
	return inHoldout(c.id, e.Key, c.def.Holdout) || inHoldout("", e.Key, e.live.def.Holdout)
}

// InHoldout reports whether the user with an entity key belongs to the control group
// of a unit, that is a campaign or one of its rows as name/row; with unit "", to that
// of the set.
func (s *Set) InHoldout(unit, key string) bool {
	if unit == "" {
		return inHoldout("", key, s.def.Holdout)
	}
	i, ok := s.unitIndex[unit]
	return ok && s.units[i].compiled.def.Offer.Kind == campaign.Advertising && inHoldout(unit, key, s.units[i].compiled.def.Holdout)
}

func inHoldout(campaign, key string, share int) bool {
	if share == 0 {
		return false
	}
	b := append(make([]byte, 0, 128), campaign...)
	b = append(append(b, 0), key[2:]...)
	return xxhash.Sum64(b)%holdoutParts < uint64(share)
}
