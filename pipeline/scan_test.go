package pipeline

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/oracle"
)

// TestScan holds that what is scanned reads as the parser reads it, on events
// as they are and with bytes of them changed.
func TestScan(t *testing.T) {
	const seed = 4
	rng := rand.New(rand.NewPCG(seed, seed))
	scanned := 0
	for s := range uint64(40) {
		_, events := oracle.Generate(s)
		for _, raw := range events {
			if compareScan(t, raw) {
				scanned++
			}
			for range 20 {
				changed := append([]byte{}, raw...)
				for n := 1 + rng.IntN(3); n > 0 && len(changed) > 0; n-- {
					const bytes = "\"\"\\\\{}[]:,0-1.5eE+ \n\tntrufalse\x01\xffpo"
					at := rng.IntN(len(changed))
					switch b := bytes[rng.IntN(len(bytes))]; rng.IntN(3) {
					case 0:
						changed[at] = b
					case 1:
						changed = append(changed[:at], changed[at+1:]...)
					default:
						changed = append(changed[:at+1], changed[at:]...)
						changed[at] = b
					}
				}
				compareScan(t, changed)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d, oracle's %d", seed, s)
		}
	}
	if scanned < 1000 {
		t.Errorf("%d events were scanned: the test tests little", scanned)
	}
}

// compareScan says whether raw was scanned.
func compareScan(t *testing.T, raw []byte) bool {
	t.Helper()
	var scan, parse Decoder
	if !scan.scan(raw) {
		return false
	}
	want, err := parse.decode(raw, 0)
	if err != nil {
		t.Errorf("%s\nis scanned; parsed it is refused: %v", raw, err)
		return true
	}
	a, b := scan.ev, *want
	for _, path := range [][]string{{"properties"}, {"traits"}, {"context"}, {"properties", "price"}, {"context", "page"}} {
		if g, w := plain(a.get(path...)), plain(b.get(path...)); g != w {
			t.Errorf("%s\nscanned it has %v = %s, parsed %s", raw, path, g, w)
		}
	}
	scan.scan(raw) // nothing is parsed yet
	for _, at := range []struct {
		in  member
		key string
	}{{inPage, "url"}, {inPage, "referrer"}, {inCampaign, "source"}, {inProperties, "referrer"}, {inProperties, "category"}} {
		if g, w := scan.ev.text(at.in, at.key), b.text(at.in, at.key); g != w {
			t.Errorf("%s\nscanned it has the text %v = %q, parsed %q", raw, at, g, w)
		}
	}
	a.Root, b.Root, a.Raw, b.Raw, a.dec, b.dec = nil, nil, nil, nil, nil, nil
	if g, w := asJSON(a), asJSON(b); g != w {
		t.Errorf("%s\nscanned it is %s\n parsed it is %s", raw, g, w)
	}
	return true
}

func plain(v *fastjson.Value) string {
	if absent(v) {
		return "nothing"
	}
	return string(v.MarshalTo(nil))
}

// TestPlainTime holds that times are read as the library reads them.
func TestPlainTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	read := 0
	for range 200_000 {
		at := time.Unix(rng.Int64N(8e9), 0).UTC()
		layout := "2006-01-02T15:04:05.000000000"
		s := at.Add(time.Duration(rng.Int64N(1e9))).Format(layout[:[]int{19, 21, 23, 26, 29}[rng.IntN(5)]]) + "Z"
		if rng.IntN(3) == 0 {
			b := []byte(s)
			b[rng.IntN(len(b))] = "0123456789:-.TZ "[rng.IntN(16)]
			s = string(b)
		}
		got, ok := plainTime(s)
		if !ok {
			continue
		}
		read++
		want, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || want.UnixNano() != got {
			t.Fatalf("%s reads as %s; the library says %v, %v", s, FormatTime(got), want, err)
		}
	}
	if read < 100_000 {
		t.Errorf("%d times were read", read)
	}
}
