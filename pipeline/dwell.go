package pipeline

import (
	"offerstream/pipeline/expr"
	"offerstream/pipeline/window"
)

// A dwellTerm is a conjunct of `if` that asks whether a dwell is long enough,
// in the form dwell >= duration("60s") or dwell[key] >= duration("60s").
type dwellTerm struct {
	conjunct int // index in compiled.cond
	feature  int
	key      *expr.Expr // of a feature with `by`, else nil
	need     int64      // nanoseconds
}

// onlyDwell reports whether only dwells are missing for the campaign's `if` to
// hold. due is when they will be long enough if no further event comes.
func (s *step) onlyDwell(c *compiled, sc *scope) (due int64, ok bool) {
	if len(c.dwell) == 0 {
		return 0, false
	}
	t := 0
	for i, x := range c.cond {
		if t < len(c.dwell) && c.dwell[t].conjunct == i {
			t++
			continue
		}
		if ok, err := x.Holds(sc); !ok || err != nil {
			return 0, false
		}
	}
	for len(s.stays) < len(c.dwell) {
		s.stays = append(s.stays, window.Stay{})
	}
	stays := s.stays[:len(c.dwell)]
	for i, t := range c.dwell {
		f, key := sc.set.features[t.feature], ""
		if t.key != nil {
			k, err := t.key.Key(sc)
			if err != nil {
				return 0, false
			}
			key = k
		}
		stays[i].Need = t.need
		f.shape.Stay(sc.entity.feature(t.feature), key, sc.now, &stays[i])
	}
	if cap(s.points) < 64 {
		s.points = make([]int64, 0, 1024)
	}
	return window.Earliest(sc.now, stays, s.points)
}

// readsDwell reports whether an expression reads a dwell.
func (c *compiler) readsDwell(cp *compiled, x *expr.Expr) (found bool) {
	cp.reads(x, func(name string) {
		i, ok := c.set.featureIndex[name]
		found = found || ok && c.set.features[i].shape.Stays
	})
	return found
}
