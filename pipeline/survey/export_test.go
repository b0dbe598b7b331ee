package survey

// TraceAtMost makes the survey trace only some users after n evaluations.
func (s *Survey) TraceAtMost(n int) { s.trace.most = n }
