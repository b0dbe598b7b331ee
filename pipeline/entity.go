package pipeline

// An Entity is one user's state.
type Entity struct {
	Key string // "u:..." or "a:..."
}
