package window

import (
	"math"
	"sort"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// rowKey is the key of the row in an entry's content, in the content's memory.
func rowKey(content []byte) string {
	r := value.Reader{B: content, Alias: true}
	r.Value()
	if r.Len(1) == 0 {
		return ""
	}
	return r.Text()
}

// sameRow makes a list with `key` keep one row per key.
func sameRow(f *Shape, content []byte, e Entry) bool { return f.Keyed && rowKey(content) == e.Row.Key }

// RemoveRow removes the row with a key from the lists under all keys of the
// feature.
func (f *Shape) RemoveRow(st *State, rowKey string) {
	for i := int(st.keys) - 1; i >= 0; i-- {
		f.removeRow(st, i, rowKey)
		if f.newest(st.record(i)) == math.MinInt64 {
			st.remove(i)
		}
	}
}

func (f *Shape) removeRow(st *State, i int, key string) {
	rec := st.record(i)
	for offset := entriesOffset(rec); offset < len(rec); {
		_, content, next := readEntry(rec, offset)
		if rowKey(content) == key {
			f.removeEntry(st, i, offset)
			return
		}
		offset = next
	}
}

// writeRows writes the rows later than cutoff, as the list holds them.
func writeRows(_ *Shape, rec []byte, cutoff int64, w *value.Writer) {
	each(rec, cutoff, func(content []byte) { w.B = append(w.B, content...) })
}

// showRows is a list as an expression sees it.
func showRows(f *Shape, r *value.Reader) ref.Val {
	rows := []ref.Val{}
	for len(r.B) > 0 {
		if e := readContent(r, 0); e.Row != nil {
			rows = append(rows, value.Map{Source: rowSource{f.Fields, e.Row}})
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, rows)
}

// A rowSource is a row as a map from the names of its fields.
type rowSource struct {
	names []string
	r     *Row
}

func (s rowSource) Find(key string) (ref.Val, bool) {
	for i, n := range s.names {
		if n == key && s.r.Has[i] {
			return s.r.Fields[i].CEL(), true
		}
	}
	return nil, false
}

func (s rowSource) Has(key string) bool {
	_, ok := s.Find(key)
	return ok
}

func (s rowSource) Keys() []string {
	var ks []string
	for i, n := range s.names {
		if s.r.Has[i] {
			ks = append(ks, n)
		}
	}
	sort.Strings(ks)
	return ks
}

func (s rowSource) Size() int { return len(s.Keys()) }
