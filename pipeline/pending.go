package pipeline

// Pending calls fn with each pending evaluation of the users, in no particular
// order: the id of its unit, the stage in which it waits, and when it continues.
func (m Memory) Pending(fn func(campaign, stage string, due int64)) {
	for _, e := range m {
		for i := range e.waiting {
			w := &e.waiting[i]
			fn(w.campaign, w.stage.String(), w.due)
		}
	}
}
