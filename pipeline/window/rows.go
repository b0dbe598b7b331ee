package window

import (
	"sort"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"offerstream/pipeline/value"
)

// rowKey is the key of the row that an entry holds, in the entry's memory.
func rowKey(holds []byte) string {
	r := value.Reader{B: holds, Views: true}
	r.Value()
	if r.Len(1) == 0 {
		return ""
	}
	return r.Text()
}

// sameRow: a keyed list keeps one row a key.
func sameRow(f *Shape, holds []byte, e Entry) bool { return f.Keyed && rowKey(holds) == e.Row.Key }

// RemoveRow takes the row of a key out of the lists of all keys of the feature.
func (f *Shape) RemoveRow(st *State, key string) {
	for i := range int(st.keys) {
		f.removeRow(st, i, key)
	}
}

func (f *Shape) removeRow(st *State, i int, key string) {
	rec := st.record(i)
	for at := entriesAt(rec); at < len(rec); {
		_, holds, next := entryAt(rec, at)
		if rowKey(holds) == key {
			f.cutEntry(st, i, at)
			return
		}
		at = next
	}
}

// readRows is a list in an expression: its rows that lie after c.
func readRows(f *Shape, rec []byte, c int64) ref.Val {
	rows := []ref.Val{}
	each(rec, c, func(holds []byte) {
		e := readHeld(&value.Reader{B: holds}, 0)
		rows = append(rows, value.Map{Source: rowSource{f.Fields, e.Row}})
	})
	return types.NewRefValList(types.DefaultTypeAdapter, rows)
}

// rowSource is a row as a map by the names of its fields.
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
