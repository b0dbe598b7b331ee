package window

import (
	"bytes"
	"strings"

	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// A Frozen is what expressions can read of one feature at one time: the values under
// its keys, not what they were made of. It can be sent and stored, and reading it
// gives what reading the State gave. It is
//
//	of a ranking  the number of keys, and for each the key and its weight
//	of users      their number
//	of others     the number of keys that have an entry in the window ("" without
//	              `by`), and for each, sorted, the key, and the bytes of what is read
//	              under it (Aggregate.write; of a single value: the value)
//
// The zero Frozen is that of a feature which holds nothing.
type Frozen struct{ b []byte }

// Append writes it to a record.
func (z Frozen) Append(w *value.Writer) { w.Bytes(z.b) }

// Size is the number of bytes of what it holds.
func (z Frozen) Size() int { return len(z.b) }

// ReadFrozen reads what Append wrote. It aliases the reader's memory if texts do.
func ReadFrozen(r *value.Reader) Frozen {
	b := r.Bytes()
	if !r.Alias {
		b = bytes.Clone(b)
	}
	return Frozen{b}
}

// Freeze is what can be read of a state at now; the state may be nil.
func (f *Shape) Freeze(st *State, now int64) Frozen {
	var w value.Writer
	switch {
	case f.Ranks:
		keys := f.weights(st, now)
		w.Len(len(keys))
		for _, k := range keys {
			w.Text(k.key)
			w.Int(k.weight)
		}
	case f.Entities:
		w.Uint(uint64(f.UserCount(st, now)))
	default:
		keys := keysSource{f, st, now}.Keys()
		w.Len(len(keys))
		var content value.Writer
		for _, key := range keys {
			content.B = content.B[:0]
			f.freeze(st.find(key), now, &content)
			w.Text(key)
			w.Bytes(content.B)
		}
	}
	return Frozen{w.B}
}

// freeze writes what is read of a record at now.
func (f *Shape) freeze(rec []byte, now int64, w *value.Writer) {
	if f.Single() {
		w.Value(f.total(rec, now))
		return
	}
	f.write(f, rec, f.cutoff(now), w)
}

// find is the bytes of what is read under a key; ok is false if the key has no entry.
func (z Frozen) find(key string) (content []byte, ok bool) {
	r := value.Reader{B: z.b, Alias: true}
	for range z.keys(&r) {
		k, content := r.Text(), r.Bytes()
		if k == key && r.Err == nil {
			return content, true
		}
	}
	return nil, false
}

// keys reads the number of keys.
func (z Frozen) keys(r *value.Reader) int {
	if len(z.b) == 0 {
		return 0
	}
	return r.Len(2)
}

// FrozenRead is Read of what was frozen.
func (f *Shape) FrozenRead(z Frozen, key string) ref.Val {
	switch {
	case f.Ranks:
		return rankingOf(z.weights())
	case f.Entities:
		return crowd.Of(z.users())
	case f.Single():
		v := f.FrozenTotal(z, key)
		v.Str = strings.Clone(v.Str)
		return v.CEL()
	}
	if content, ok := z.find(key); ok {
		return f.show(f, &value.Reader{B: content})
	}
	return f.Read(nil, key, 0)
}

// FrozenTotal is Total of what was frozen.
func (f *Shape) FrozenTotal(z Frozen, key string) value.Value {
	if content, ok := z.find(key); ok {
		return (&value.Reader{B: content, Alias: true}).Value()
	}
	return f.total(nil, 0)
}

// FrozenHas is Has of what was frozen.
func (f *Shape) FrozenHas(z Frozen, key string) (has bool) {
	switch {
	case f.Ranks:
		for _, k := range z.weights() {
			has = has || k.key == key
		}
		return has
	case f.Entities:
		return z.users() > 0
	}
	_, has = z.find(key)
	return has
}

// FrozenBy is By of what was frozen.
func (f *Shape) FrozenBy(z Frozen) ref.Val { return value.Map{Source: frozenSource{f, z}} }

func (z Frozen) weights() (keys []weighted) {
	r := value.Reader{B: z.b}
	for range z.keys(&r) {
		keys = append(keys, weighted{r.Text(), r.Int()})
	}
	return keys
}

func (z Frozen) users() int {
	if len(z.b) == 0 {
		return 0
	}
	return int((&value.Reader{B: z.b}).Uint())
}

type frozenSource struct {
	f *Shape
	z Frozen
}

func (s frozenSource) Find(key string) (ref.Val, bool) { return s.f.FrozenRead(s.z, key), true }

func (s frozenSource) Has(key string) bool { return s.f.FrozenHas(s.z, key) }

func (s frozenSource) Keys() (ks []string) {
	r := value.Reader{B: s.z.b}
	for range s.z.keys(&r) {
		ks = append(ks, r.Text())
		r.Bytes()
	}
	return ks
}

func (s frozenSource) Size() int { return s.z.keys(&value.Reader{B: s.z.b}) }
