package backtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
)

// everyView is a set that makes an offer of each event.
const everyView = `{"engine":5,"clock":"event","lateness":3600000000000,"forget":{"anonymous":1,"known":1},"bounds":{"entries":256,"keys":64,"user_entries":65536,"user_bytes":262144,"absences":64},"campaigns":[{"id":"c","on":["Look"],"offer":{"channel":"web","kind":"service"}}]}`

// looks gives n events, of different users, and then what end says.
func looks(n int, end error, read *atomic.Int64) func() ([]byte, error) {
	i := 0
	return func() ([]byte, error) {
		if i == n {
			return nil, end
		}
		i++
		if read != nil {
			read.Add(1)
		}
		return fmt.Appendf(nil, `{"type":"track","event":"Look","userId":"u%d","messageId":"m%d","timestamp":"2026-01-01T00:00:00Z"}`, i%97, i), nil
	}
}

// TestStops: an error of the input, of the caller or of the set ends the run with it,
// and so does the end of the context, also where the input gives no line any more.
func TestStops(t *testing.T) {
	t.Parallel()
	set := compile(t, []byte(everyView))
	broken := errors.New("broken")
	offers := 0
	count := func(*pipeline.Offer) error { offers++; return nil }
	if _, err := run(t.Context(), set, looks(1000, broken, nil), Options{Workers: 3, Offer: count}, 16); !errors.Is(err, broken) || offers != 1000 {
		t.Errorf("the input breaks: %v after %d offers", err, offers)
	}
	full := errors.New("full")
	offers = 0
	stop := func(*pipeline.Offer) error {
		if offers++; offers == 500 {
			return full
		}
		return nil
	}
	if _, err := run(t.Context(), set, looks(100000, io.EOF, nil), Options{Workers: 3, Offer: stop}, 16); !errors.Is(err, full) || offers != 500 {
		t.Errorf("the caller has an error: %v after %d offers", err, offers)
	}
	ctx, cancel := context.WithCancel(t.Context())
	silent := make(chan bool)
	defer close(silent)
	some, n := looks(100, io.EOF, nil), 0
	next := func() ([]byte, error) {
		if n++; n > 100 { // an input that waits for ever
			cancel()
			<-silent
		}
		return some()
	}
	if _, err := run(ctx, set, next, Options{Workers: 2}, 16); !errors.Is(err, context.Canceled) {
		t.Errorf("the context has ended: %v", err)
	}
	def := *set.Definition()
	def.Coupons = &campaign.Coupons{Key: "k"}
	with, problems := pipeline.Compile(&def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if _, err := Run(t.Context(), with, looks(1, io.EOF, nil), Options{Coupons: &coupon.Keys{}}); !errors.Is(err, pipeline.ErrCouponKey) {
		t.Errorf("a coupon key is missing: %v", err)
	}
	def = *set.Definition()
	def.Clock = campaign.ClockBroker
	live, problems := pipeline.Compile(&def)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if _, err := Run(t.Context(), live, looks(1, io.EOF, nil), Options{}); err == nil {
		t.Error("a set for clock: broker runs")
	}
}

// TestTableMistake: a table that cannot be taken is an error with the line of the
// first event.
func TestTableMistake(t *testing.T) {
	t.Parallel()
	set := compile(t, []byte(everyView))
	def := *set.Definition()
	def.Facts = []campaign.Fact{{Name: "a:b", Rows: []campaign.Row{{ID: "x", Values: []byte("{}")}}}}
	with, problems := pipeline.Compile(&def)
	if len(problems) > 0 {
		t.Skip("such a set does not compile")
	}
	lines := [][]byte{nil, []byte(`{"type":"track","event":"Look","userId":"u","timestamp":"2026-01-01T00:00:00Z"}`)}
	if _, err := Run(t.Context(), with, source(lines), Options{}); err == nil || !strings.HasPrefix(err.Error(), "line 2: fact a:b, key \"x\" of its table: ") {
		t.Errorf("%v", err)
	}
}

// TestRefusedLines: a line that the input refuses is counted and named like others;
// empty lines have numbers and count for nothing else.
func TestRefusedLines(t *testing.T) {
	t.Parallel()
	long := event.Rejectf("size", "too long")
	lines := []string{"", "  ", "{", "long", `{"type":"track","event":"Look","userId":"u"}`, ` {"type":"track","event":"Look","userId":"u","timestamp":"2026-01-01T00:00:00Z"} `}
	next := func() ([]byte, error) {
		if len(lines) == 0 {
			return nil, io.EOF
		}
		l := lines[0]
		if lines = lines[1:]; l == "long" {
			return nil, long
		}
		return []byte(l), nil
	}
	var refused []int
	var last error
	r, err := Run(t.Context(), compile(t, []byte(everyView)), next, Options{Refused: func(line int, err error) {
		refused = append(refused, line)
		if line == 4 {
			last = err
		}
	}})
	if err != nil || fmt.Sprint(refused) != "[3 4 5]" || last != long || r.Lines != 4 || r.Events != 1 || r.Rejected["size"] != 1 || r.Rejected["timestamp"] != 1 {
		t.Errorf("lines %v are refused, %+v, %v", refused, r, err)
	}
}

// TestBounded: what is read ahead of the caller is bounded.
func TestBounded(t *testing.T) {
	t.Parallel()
	const size, workers = 16, 3
	var read atomic.Int64
	done, most := int64(0), int64(0)
	offer := func(*pipeline.Offer) error { done++; most = max(most, read.Load()-done); return nil }
	if _, err := run(t.Context(), compile(t, []byte(everyView)), looks(20000, io.EOF, &read), Options{Workers: workers, Offer: offer}, size); err != nil || done != 20000 {
		t.Fatalf("%d offers, %v", done, err)
	}
	if limit := int64(size * batches(workers, workers)); most > limit {
		t.Errorf("%d lines are read ahead, at most %d are allowed", most, limit)
	}
}
