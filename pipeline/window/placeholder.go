package window

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"
)

var HistogramType = cel.ObjectType("Histogram")

func HistogramTimes(v ref.Val) (times []int64, ok bool) { return nil, false }
