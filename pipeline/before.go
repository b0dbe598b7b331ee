package pipeline

import (
	"slices"

	"offerstream/pipeline/value"
	"offerstream/pipeline/window"
)

// before copies, before the event is applied, what the campaigns that it triggers
// read as before.x; nil if none of them does.
func (s *step) before() *Entity {
	if !s.live.readsBefore {
		return nil
	}
	features := slices.Clone(s.live.featBefore)
	reads := s.feedsBefore()
	for _, m := range s.matches {
		c := s.live.campaigns[m.unit].compiled
		reads = reads || c.readsBefore
		for _, i := range c.before {
			if !slices.Contains(features, i) {
				features = append(features, i)
			}
		}
	}
	if !reads {
		return nil
	}
	e := s.entity
	was := &Entity{Key: e.Key, traits: e.traits, session: e.session, binding: binding{live: e.live, place: make([]uint16, len(e.place))}}
	was.session.events = slices.Clone(was.session.events)
	was.session.ends, was.session.times = false, nil // of which expressions read nothing
	for _, i := range features {
		if st := e.feature(i); st != nil {
			was.states = append(was.states, copied(st))
			was.place[i] = uint16(len(was.states))
		}
	}
	return was
}

// feedsBefore reports whether the event feeds a feature of items that reads anything as
// before.x.
func (s *step) feedsBefore() (reads bool) {
	if len(s.live.kinds) == 0 {
		return false
	}
	s.live.match.features.each(s.scope.event, func(i int) { reads = reads || s.live.features[i].readsBefore })
	return reads
}

// copied is a copy of a feature's state.
func copied(st *window.State) window.State {
	var w value.Writer
	st.Append(&w)
	r := value.Reader{B: w.B}
	return window.ReadState(&r)
}
