package pipeline

import (
	"errors"
	"testing"

	"offerstream/pipeline/oracle"
)

// FuzzAdmit holds, on any bytes, that a refusal is a Reject, and that what
// Admit takes from outside Decode reads from the log alike.
func FuzzAdmit(f *testing.F) {
	for s := range uint64(3) {
		_, events := oracle.Generate(s)
		for _, e := range events[:40] {
			f.Add(e)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var strict, lenient Decoder
		ev, err := strict.Admit(raw, 0)
		if err != nil {
			var r *Reject
			if !errors.As(err, &r) || r.Reason == "" || r.Detail == "" {
				t.Fatalf("refused by %T: %v", err, err)
			}
			return
		}
		again, err := lenient.Decode(raw)
		if err != nil {
			t.Fatalf("admitted, but Decode says: %v", err)
		}
		a, b := *ev, *again
		a.Root, b.Root, a.Raw, b.Raw = nil, nil, nil, nil
		if asJSON(a) != asJSON(b) {
			t.Fatalf("Admit reads %+v\nDecode reads %+v", a, b)
		}
		if a.Type != Clock && (len(a.Key) < 3 || CheckUser(a.User()) != nil || a.ID == "") {
			t.Fatalf("admitted with key %q, id %q", a.Key, a.ID)
		}
	})
}

// FuzzFold holds that no message stops a fold: what cannot be applied becomes
// a dead letter. A user's bytes read back whatever they went through.
func FuzzFold(f *testing.F) {
	setJSON, events := oracle.Generate(7)
	def, err := ParseDefinition(setJSON)
	if err != nil {
		f.Fatal(err)
	}
	def.Clock = ClockBroker
	set, problems := Compile(def)
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	for i, e := range events[:60] {
		f.Add(append(append(e, '\n'), events[i+1]...), int64(i)*1e12, i%3 == 0)
	}
	f.Fuzz(func(t *testing.T, data []byte, stored int64, tick bool) {
		users := Memory{}
		fold, err := NewFold(Cursor{Set: set.hash}, func(string) (*Set, error) { return set, nil }, users)
		if err != nil {
			t.Fatal(err)
		}
		for seq, m := range []Message{{Kind: In, Data: data, Stored: stored}, {Kind: Tick, Data: data, Stored: stored / 2}, {Kind: In, Data: data, Stored: stored}} {
			if m.Kind == Tick && !tick {
				m.Kind = In
			}
			m.Seq = uint64(seq + 1)
			if err := fold.Begin(m); err != nil {
				t.Fatal(err)
			}
			for more := true; more; {
				if more, err = fold.Next(); err != nil {
					t.Fatal(err)
				}
				for _, e := range fold.Effects() {
					if (e.Offer == nil) == (e.Dead == nil) {
						t.Fatalf("an effect is an offer or a dead letter: %+v", e)
					}
				}
			}
		}
		for key, e := range users {
			if _, err := DecodeEntity(key, e.AppendBinary(nil)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
