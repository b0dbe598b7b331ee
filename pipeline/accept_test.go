package pipeline

import (
	"fmt"
	"reflect"
	"testing"
)

// TestAccept checks that an acceptance moves no time and fires nothing; that
// each chain continues, with a mark, after both the numbers of the log and the
// numbers that were stored; and that a fold recreated within the message
// continues in the same way.
func TestAccept(t *testing.T) {
	cursor := Cursor{Seq: 6, LogTime: 1000, Chains: map[string]Chain{"offers.sms": {Last: Position{N: 9, S: 5, T: 3}}, "offers.web": {Last: Position{N: 2, S: 6, T: 4}}}}
	m := Message{Seq: 7, Stored: 5000, Kind: Accept, Data: []byte(`{"chains":{"dead":4,"offers.sms":3,"offers.web":12},"why":"a disk"}`)}
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
		want := []string{"dead {N:5 S:7 K:0 T:5000} a disk", "offers.sms {N:10 S:7 K:0 T:5000} a disk", "offers.web {N:13 S:7 K:0 T:5000} a disk"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if c := f.Cursor(); c.Seq != 7 || c.Accepted != 5000 || c.LogTime != 1000 || c.Within != 0 {
			t.Errorf("the cursor is %+v", c)
		}
	}
	f, _ := NewFold(cursor, nil, Memory{})
	if err := f.Begin(Message{Seq: 7, Kind: Accept, Data: []byte(`{"chains":{"tick":4}}`)}); err == nil {
		t.Error("the name tick is accepted as that of a chain")
	}
}
