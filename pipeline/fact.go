package pipeline

import (
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// A factSource is a fact as an expression sees it: a map from its keys.
type factSource struct {
	s *scope
	f *campaign.Fact
}

func factMap(s *scope, f *campaign.Fact) ref.Val { return value.Map{Source: factSource{s, f}} }

func (f factSource) Find(key string) (ref.Val, bool) { return nil, false }
func (f factSource) Has(key string) bool             { return false }
func (f factSource) Keys() []string                  { return nil }
func (f factSource) Size() int                       { return 0 }
