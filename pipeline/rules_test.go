package pipeline

const (
	second = int64(1e9)
	minute = 60 * second
)

// The campaign language's rules where they are easily misread.
var scenes = []scene{}
