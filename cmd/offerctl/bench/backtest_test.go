package bench

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
)

// A backtest accepts all events that `bench --backtest` makes. A rate that
// includes refused events would mean nothing.
func TestBacktestEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writeBacktest(f, 100, 3000), f.Close()); err != nil {
		t.Fatal(err)
	}
	def, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	b, err := plainBacktest(t.Context(), def, path, "")
	if err != nil {
		t.Fatal(err)
	}
	fired := uint64(0)
	counts, _ := b.Counts()
	for _, c := range counts {
		fired += c.Ended[pipeline.Fired]
	}
	if b.Applied != 3000 || b.Duplicates() != 0 || len(b.Rejected) != 0 || len(b.Jumps) != 0 || fired == 0 {
		t.Errorf("%d applied, %d duplicates, rejected %v, jumps %v, %d fired", b.Applied, b.Duplicates(), b.Rejected, b.Jumps, fired)
	}
}

// plainBacktest does the essential part of `offerctl backtest`, without a file of
// offers. The command itself is in another package, whose tests measure it.
func plainBacktest(_ context.Context, def *campaign.Definition, events, _ string) (*pipeline.Backtest, error) {
	b, problems := pipeline.NewBacktest(def)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	f, err := os.Open(events)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if err := b.Line(lines.Bytes(), func(*pipeline.Offer) {}); err != nil {
			return nil, err
		}
	}
	return b, lines.Err()
}
