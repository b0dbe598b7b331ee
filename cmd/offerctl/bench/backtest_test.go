package bench

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"offerstream/pipeline"
	"offerstream/pipeline/backtest"
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
	for _, c := range b.Campaigns {
		fired += c.Ended[pipeline.Fired]
	}
	if b.Events != 3000 || b.Duplicates != 0 || len(b.Rejected) != 0 || len(b.Jumps) != 0 || fired == 0 {
		t.Errorf("%d applied, %d duplicates, rejected %v, jumps %v, %d fired", b.Events, b.Duplicates, b.Rejected, b.Jumps, fired)
	}
}

// plainBacktest does the essential part of `offerctl backtest`, without a file of
// offers. The command itself is in another package, whose tests measure it.
func plainBacktest(ctx context.Context, def *campaign.Definition, events, _ string) (*backtest.Result, error) {
	timed := *def
	timed.Clock = campaign.ClockEvent
	set, problems := pipeline.Compile(&timed)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	f, err := os.Open(events)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	return backtest.Run(ctx, set, func() ([]byte, error) {
		if !lines.Scan() {
			return nil, cmp.Or(lines.Err(), io.EOF)
		}
		return lines.Bytes(), nil
	}, backtest.Options{})
}
