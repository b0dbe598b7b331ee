package window

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"offerstream/pipeline/value"
)

// A slowSample is the rule's own words: it drops what left the window only where that
// decides something.
type slowSample struct {
	times map[string]int64
	j     int
}

func (s *slowSample) drop(f *Shape, now int64) {
	for text, t := range s.times {
		if f.Left(t, now) {
			delete(s.times, text)
		}
	}
}

func (s *slowSample) takes(text string) bool {
	return s.j == 0 || xxhash.Sum64String(text)>>(64-s.j) == 0
}

func (s *slowSample) add(f *Shape, text string, t, now int64) {
	if !s.any(f, now) {
		s.drop(f, now)
		s.j = 0
	}
	for {
		if old, held := s.times[text]; held {
			s.times[text] = max(old, t)
			return
		}
		if !s.takes(text) {
			return
		}
		if len(s.times) == mostSampled {
			s.drop(f, now)
		}
		if len(s.times) < mostSampled {
			s.times[text] = t
			return
		}
		s.j++
		for text := range s.times {
			if !s.takes(text) {
				delete(s.times, text)
			}
		}
	}
}

func (s *slowSample) any(f *Shape, now int64) bool {
	for _, t := range s.times {
		if !f.Left(t, now) {
			return true
		}
	}
	return false
}

func (s *slowSample) read(f *Shape, now int64) int64 {
	n := int64(0)
	for _, t := range s.times {
		if !f.Left(t, now) {
			n++
		}
	}
	return n << s.j
}

// TestSampled holds a distinct of an item to the rule, with few values and with more
// than it holds, several times over, while they leave the window all at once or one
// by one.
func TestSampled(t *testing.T) {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 7))
	for _, c := range []struct {
		values, acts int
		within       time.Duration
	}{{10, 3000, 200}, {5, 1000, 0}, {300, 4000, 2000}, {100_000, 90_000, 0}, {40_000, 120_000, 60_000}, {1 << 40, 80_000, 50_000}} {
		f := Shape{Aggregate: sampled, Within: c.within, Keys: 1}
		st, model, now := &State{}, slowSample{times: map[string]int64{}}, int64(1000)
		var scratch []byte
		deepest := 0
		for act := range c.acts {
			if now++; rng.IntN(c.acts/3) == 0 {
				now += rng.Int64N(2 * (int64(c.within) + 1))
			}
			n := rng.IntN(c.values)
			v := value.OfString(fmt.Sprint(n))
			if rng.IntN(4) == 0 {
				v = value.OfDouble(float64(n)) // of the same text
			}
			at := now - rng.Int64N(2)*rng.Int64N(int64(c.within)+50)
			if text, _ := value.PrintText(v.CEL()); !f.Left(at, now) {
				f.Add(st, "", Entry{Time: at, Value: v}, now, &scratch)
				model.add(&f, text, at, now)
				deepest = max(deepest, model.j)
			}
			if act%(1+c.acts/200) == 0 {
				for _, read := range []int64{now, now + rng.Int64N(int64(c.within)+2)} {
					if got, want := int64(f.Total(st, "", read).Bits), model.read(&f, read); got != want {
						t.Fatalf("%d values, act %d: %d are read at %d, want %d with j %d", c.values, act, got, read, want, model.j)
					}
				}
			}
			if act%(1+c.acts/50) == 0 {
				st = stored(t, st)
				records(t, &f, st)
			}
		}
		t.Logf("%d values: j was up to %d", c.values, deepest)
	}
}

// BenchmarkSampled: a touch where 16,384 values are held.
func BenchmarkSampled(b *testing.B) {
	texts := make([]value.Value, 1<<20)
	for i := range texts {
		texts[i] = value.OfString(fmt.Sprint("u:", i))
	}
	full := func(within time.Duration) (*Shape, *State, int64) {
		f, st := &Shape{Aggregate: sampled, Keys: 1, Within: within}, &State{}
		for i := range mostSampled {
			f.Add(st, "", Entry{Time: int64(i), Value: texts[i]}, int64(i), nil)
		}
		return f, st, mostSampled
	}
	b.Run("held", func(b *testing.B) {
		f, st, now := full(1 << 40)
		for i := 0; b.Loop(); i++ {
			now++
			f.Add(st, "", Entry{Time: now, Value: texts[i*7919%mostSampled]}, now, nil)
		}
	})
	b.Run("new", func(b *testing.B) { // while one leaves at each
		f, st, now := full(mostSampled)
		for i := 0; b.Loop(); i++ {
			now++
			f.Add(st, "", Entry{Time: now, Value: texts[(i+mostSampled)%len(texts)]}, now, nil)
		}
	})
	b.Run("beyond", func(b *testing.B) { // while none leaves
		f, st, now := full(0)
		for i := 0; b.Loop(); i++ {
			now++
			f.Add(st, "", Entry{Time: now, Value: texts[(i+mostSampled)%len(texts)]}, now, nil)
		}
	})
	b.Run("read", func(b *testing.B) {
		f, st, now := full(mostSampled)
		for b.Loop() {
			f.Total(st, "", now+50)
		}
	})
}
