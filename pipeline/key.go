package pipeline

import (
	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fastjson"
)

// A keyer is a compiled `by` or `match`: none, a property of each item, or an
// expression about the event.
type keyer struct {
	name string
	expr *expr
}

func (k keyer) none() bool { return k.name == "" && k.expr == nil }

// each calls fn with every key of the event, in the order of its items; item
// is the index among them. What has no key is skipped. A key is valid as long
// as the event.
func (k keyer) each(sc *scope, fn func(key string, item int, v *fastjson.Value)) error {
	switch {
	case k.expr != nil:
		key, err := k.expr.key(sc)
		if err != nil {
			return err
		}
		fn(key, 0, nil)
	case k.name != "":
		for i, it := range sc.event.items() {
			if key, ok := jsonKey(it.Get(k.name)); ok {
				fn(key, i, it)
			}
		}
	default:
		fn("", 0, nil)
	}
	return nil
}

// A featureState is what a user holds of one feature.
type featureState struct {
	id    uint64
	since uint32   // epoch of the feature when it began
	open  int      // dwell: how many intervals are open
	keys  []*keyed // least recently touched first; without `by` at most one, key ""
	sums  []uint32 // of the keys' texts, so that a search reads one place
}

type keyed struct {
	key string
	window
}

func (s *featureState) find(key string) *keyed {
	if s == nil {
		return nil
	}
	if i := s.index(key); i >= 0 {
		return s.keys[i]
	}
	return nil
}

// index is a key's place, -1 where it has none.
func (s *featureState) index(key string) int {
	sum := keySum(key)
	for i := len(s.sums) - 1; i >= 0; i-- { // the latest are asked for most
		if s.sums[i] == sum && s.keys[i].key == key {
			return i
		}
	}
	return -1
}

func keySum(key string) uint32 { return uint32(xxhash.Sum64String(key)) }

// append puts a key behind the others.
func (s *featureState) append(k *keyed) {
	s.keys = append(s.keys, k)
	s.sums = append(s.sums, keySum(k.key))
}

// latest makes key i the last.
func (s *featureState) latest(i int) *keyed {
	k, sum, end := s.keys[i], s.sums[i], len(s.keys)-1
	if i < end {
		copy(s.keys[i:], s.keys[i+1:])
		copy(s.sums[i:], s.sums[i+1:])
		s.keys[end], s.sums[end] = k, sum
	}
	return k
}

// keep keeps the keys for which which holds.
func (s *featureState) keep(which func(*keyed) bool) {
	keys, sums := s.keys, s.sums
	s.keys, s.sums = s.keys[:0], s.sums[:0]
	for i, k := range keys {
		if which(k) {
			s.keys, s.sums = append(s.keys, k), append(s.sums, sums[i])
		}
	}
	clear(keys[len(s.keys):])
}
