package event

import (
	"errors"
	"testing"

	"offerstream/pipeline/oracle"
)

// FuzzAdmit checks, on arbitrary bytes, that Admit refuses with a Reject, and
// that Decode reads an admitted event as Admit does.
func FuzzAdmit(f *testing.F) {
	for s := range uint64(3) {
		_, events := oracle.Generate(s)
		for _, e := range events[:40] {
			f.Add(e)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		compareScan(t, raw)
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
			t.Fatalf("Admit accepts the event, Decode refuses it: %v", err)
		}
		a, b := *ev, *again
		a.Root, b.Root, a.Raw, b.Raw, a.dec, b.dec = nil, nil, nil, nil, nil, nil
		if asJSON(a) != asJSON(b) {
			t.Fatalf("Admit reads %+v\nDecode reads %+v", a, b)
		}
		if a.Type != Clock && (len(a.Key) < 3 || CheckUser(a.User()) != nil || a.ID == "") {
			t.Fatalf("admitted with key %q, id %q", a.Key, a.ID)
		}
	})
}
