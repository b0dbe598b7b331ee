package oracle

// fits notes which steps of each sequence the event fits.
func (u *user) fits(ev *event) {
	for _, c := range u.set.running {
		if c.Sequence == nil {
			continue
		}
		sc := &scope{user: u, campaign: c, event: ev, now: ev.now, pos: ev.pos}
		for _, step := range c.Sequence.Steps {
			ev.takes[c] = append(ev.takes[c], ev.matches(step.On) && step.where.holds(sc))
		}
	}
}

// completes reports whether the newest event completes the campaign's sequence.
func (u *user) completes(c *campaign) bool {
	_, done := u.progress(c)
	return done
}

// progress follows a sequence through all events. It returns when the prefixes began,
// by how many steps have been made, and whether the newest event completes it.
func (u *user) progress(c *campaign) (starts map[int]int64, done bool) {
	starts = map[int]int64{}
	for _, ev := range u.log {
		done = false
		if ev.absorbed != nil {
			theirs, _ := ev.absorbed.progress(c)
			for made, start := range theirs {
				if own, any := starts[made]; !any || start > own {
					starts[made] = start
				}
			}
			continue
		}
		for made := len(c.Sequence.Steps) - 1; made >= 0; made-- { // before this event
			start, any := starts[made]
			if made == 0 {
				start, any = ev.now, true
			}
			if !any || start <= minus(ev.now, c.Sequence.Within) || !ev.takes[c][made] {
				continue
			}
			delete(starts, made)
			if made == len(c.Sequence.Steps)-1 {
				done, starts = true, map[int]int64{}
			} else if old, any := starts[made+1]; !any || start >= old {
				starts[made+1] = start
			}
			break
		}
	}
	return starts, done
}
