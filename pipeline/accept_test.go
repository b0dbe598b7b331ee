package pipeline

import (
	"fmt"
	"reflect"
	"testing"
)

// TestAccept checks that an acceptance moves no time and fires nothing; that
// each chain continues, with a mark, after the numbers of the log, the numbers
// that were stored, and the acceptance's own number; that a chain that begins later
// begins after that number too; and that a fold recreated within the message, or
// after it, continues in the same way. An acceptance of an earlier version has no
// number of its own.
func TestAccept(t *testing.T) {
	for after, numbers := range map[uint64][4]uint64{0: {5, 10, 13, 1}, 7: {8, 10, 13, 8}, 12: {13, 13, 13, 13}, 1000: {1001, 1001, 1001, 1001}} {
		testAccept(t, after, numbers)
	}
}

// testAccept folds an acceptance with a number of its own (0: without one). The
// chains dead, offers.sms and offers.web must then have marks with the first three
// numbers, and offers.new must begin with the fourth.
func testAccept(t *testing.T, after uint64, numbers [4]uint64) {
	t.Helper()
	cursor := Cursor{Seq: 6, LogTime: 1000, Chains: map[string]Chain{"offers.sms": {Last: Position{N: 9, S: 5, T: 3}}, "offers.web": {Last: Position{N: 2, S: 6, T: 4}}}}
	m := Message{Seq: 7, Stored: 5000, Kind: Accept, Data: fmt.Appendf(nil, `{"chains":{"dead":4,"offers.sms":3,"offers.web":12},"after":%d,"why":"a disk"}`, after)}
	if after == 0 {
		m.Data = []byte(`{"chains":{"dead":4,"offers.sms":3,"offers.web":12},"why":"a disk"}`)
	}
	for _, again := range []bool{false, true} {
		f, err := NewFold(cursor, nil, Memory{})
		if err != nil {
			t.Fatal(err)
		}
		f.Schedule(1, "u:ada")
		var got []string
		for more := true; more; {
			if err := f.Begin(m); err != nil {
				t.Fatal(err)
			}
			for {
				if more, err = f.Next(); err != nil {
					t.Fatal(err)
				}
				for _, e := range f.Effects() {
					got = append(got, fmt.Sprintf("%s %+v %s", e.Chain, e.Pos, e.Mark.Why))
				}
				if again && more {
					if f, err = NewFold(f.Cursor(), nil, Memory{}); err != nil {
						t.Fatal(err)
					}
				}
				if again || !more {
					break
				}
			}
		}
		var want []string
		for i, name := range []string{"dead", "offers.sms", "offers.web"} {
			want = append(want, fmt.Sprintf("%s {N:%d S:7 K:0 T:5000 G:0} a disk", name, numbers[i]))
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("after %d: %q, want %q", after, got, want)
		}
		if c := f.Cursor(); c.Seq != 7 || c.Accepted != 5000 || c.LogTime != 1000 || c.Within != 0 {
			t.Errorf("the cursor is %+v", c)
		}
		if again {
			stored, err := f.Cursor().JSON()
			if err != nil {
				t.Fatal(err)
			}
			read, err := ReadCursor(stored)
			if err != nil {
				t.Fatal(err)
			}
			if f, err = NewFold(read, nil, Memory{}); err != nil {
				t.Fatal(err)
			}
		}
		for i, chain := range []string{"offers.new", "offers.new", "offers.sms"} {
			f.emit(Effect{Chain: chain})
			if n, want := f.Effects()[i].Pos.N, [...]uint64{numbers[3], numbers[3] + 1, numbers[1] + 1}[i]; n != want {
				t.Errorf("after %d: %s goes on with record %d, want %d", after, chain, n, want)
			}
		}
	}
	f, _ := NewFold(cursor, nil, Memory{})
	if err := f.Begin(Message{Seq: 7, Kind: Accept, Data: []byte(`{"chains":{"tick":4}}`)}); err == nil {
		t.Error("the name tick is accepted as that of a chain")
	}
}
