package oracle

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// A histogram is the value of the aggregate of that name. In expressions it shows
// only its size.
type histogram struct {
	textMap
	times []int64 // event times
}

func histogramOf(es []*entry) ref.Val {
	h := histogram{textMap: textMap{values: map[string]ref.Val{"size": types.Int(len(es))}}}
	for _, e := range es {
		h.times = append(h.times, e.at)
	}
	return h
}
