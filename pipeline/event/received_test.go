package event

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// TestReceived: what Received tells is what the parser tells.
func TestReceived(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var dec Decoder
	told := 0
	for _, raw := range []string{
		`{"type":"track","event":"Product Viewed","messageId":"m","userId":"u","receivedAt":"2026-12-01T16:00:00.123456789Z","properties":{"a":[1,{"b":"\n"}]}}`,
		`{"receivedAt":"2026-12-01T16:00:00Z","receivedAt":"2027-12-01T16:00:00Z"}`,
		`{"receivedAt":"2026-12-01T16:00:00Z","x":"é"} `,
		`{"receivedAt":"2026-12-01T16:00:00+09:00"}`,
		`{"receivedAt":"2026-12-01T16:00:00Z"`,
		`{"receivedAt":"2026\u002d12-01T16:00:00Z"}`,
		`{"receivedAt":null}`, `{"receivedAt":1}`, `{"receivedAt":""}`, `{}`, `[]`, ``, `{"context":{"receivedAt":"2026-12-01T16:00:00Z"}}`,
	} {
		for range 3000 {
			b := []byte(raw)
			for range rng.IntN(3) {
				if len(b) > 0 {
					b[rng.IntN(len(b))] = `"{}[],:\ x2T-Z`[rng.IntN(14)]
				}
			}
			got, ok := dec.Received(b)
			if !ok {
				continue
			}
			told++
			if want, err := value.ParseTime(fastjson.GetString(b, "receivedAt")); err != nil || got != want {
				t.Fatalf("%s: %d, the parser says %d, %v", b, got, want, err)
			}
		}
	}
	if told == 0 {
		t.Error("it told of no event")
	}
	if _, ok := dec.Received([]byte(`{"messageId":"m","receivedAt":"2026-12-01T16:00:00Z"}`)); !ok {
		t.Error("it does not tell of a plain event")
	}
}
