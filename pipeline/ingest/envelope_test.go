package ingest

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTakeEvents checks that an array of events that is scanned once reads as one whose
// end was looked for before, and that no string ends elsewhere than for who looks at one
// byte after the other: on batches of which a few bytes were changed.
func TestTakeEvents(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, seed))
	const text = ` [ {"type":"track","userId":"a-user","x":[1,-2.5e3,true,null,{"a\"b":"c\\\u0041 ]}"}]} ,{},7, "eight" ,[[]],` + "\n" + `{"long":"a text of more than eight bytes","müller":"ü"}]}`
	taken := 0
	for range 20_000 {
		body := []byte(text)
		for range rng.IntN(4) {
			const bytes = "\"\"\\\\{}[]:,0-1 \n\t\x01\x1f\x80\xffnx"
			at, b := rng.IntN(len(body)), bytes[rng.IntN(len(bytes))]
			switch rng.IntN(3) {
			case 0:
				body[at] = b
			case 1:
				body = slices.Delete(body, at, at+1)
			default:
				body = slices.Insert(body, at, b)
			}
		}
		for i := range body {
			if body[i] == '"' {
				end, control := scanString(body, i)
				if wantEnd, wantControl := scanStringSimply(body, i); end != wantEnd || end >= 0 && control != wantControl {
					t.Fatalf("seed %d: the string at %d of %q ends at %d (%v), want %d (%v)", seed, i, body, end, control, wantEnd, wantControl)
				}
			}
		}
		var once, twice envelope
		at := skipSpace(body, 0)
		end, ok := once.takeEvents(body, at)
		list, err := scanValue(body, at)
		if err == nil {
			err = twice.readEvents(body, list)
		}
		if ok != (err == nil) || ok && (end != list.to || !slices.Equal(once.events, twice.events)) {
			t.Fatalf("seed %d: %q is read to %d (%v) as %v, want to %d as %v, %v", seed, body, end, ok, once.events, list.to, twice.events, err)
		}
		if ok {
			taken++
		}
	}
	if taken < 1000 {
		t.Errorf("seed %d: only %d batches were taken", seed, taken)
	}
}

func scanStringSimply(b []byte, i int) (end int, control bool) {
	for i++; i < len(b); i++ {
		switch {
		case b[i] == '"':
			return i + 1, control
		case b[i] == '\\':
			i++
		case b[i] < ' ':
			control = true
		}
	}
	return -1, control
}
