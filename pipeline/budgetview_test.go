package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHoldings checks what is shown of budgets and pools: what counts at the time,
// and what is left.
func TestHoldings(t *testing.T) {
	t.Parallel()
	b := itemScene(t)
	see := func(after time.Duration, want string) {
		t.Helper()
		h, err := b.fold.Holdings(b.LogTime()+int64(after), 10)
		if got := asJSON(h); err != nil || got != want {
			t.Errorf("%s (%v), want %s", got, err, want)
		}
	}
	see(0, `{"budgets":{"gift":{"most":3,"spent":0,"left":3}},"pools":{"spring":{"imported":0,"given":0,"left":0}}}`)
	take(t, b, `{"type":"codes","pool":"spring","codes":["A1","A2"],"timestamp":"2026-01-01T10:00:00Z"}`, at("10:00:00", "Order", ""), at("10:00:01", "Order", ""))
	see(0, `{"budgets":{"gift":{"most":3,"spent":2,"left":1}},"pools":{"spring":{"imported":2,"given":2,"left":0}}}`)
	see(time.Hour-time.Second, `{"budgets":{"gift":{"most":3,"spent":1,"left":2}},"pools":{"spring":{"imported":2,"given":2,"left":0}}}`)
	see(time.Hour, `{"budgets":{"gift":{"most":3,"spent":0,"left":3}},"pools":{"spring":{"imported":2,"given":2,"left":0}}}`)
	if is, err := b.Budget("gift"); err != nil || is != (BudgetState{3, 2, 1}) {
		t.Errorf("the budget at log time: %+v, %v", is, err)
	}
	if _, err := b.Budget("drop"); err == nil || !strings.Contains(err.Error(), `no campaign "drop" with a budget`) {
		t.Errorf("a campaign without a budget: %v", err)
	}
	if is, err := b.Pool("spring"); err != nil || is != (PoolState{2, 2, 0}) {
		t.Errorf("the pool: %+v, %v", is, err)
	}
	b.Definition().Campaigns[2].Budget.Offers = 1 // a smaller one: more was spent than it allows
	see(0, `{"budgets":{"gift":{"most":1,"spent":2,"left":0}},"pools":{"spring":{"imported":2,"given":2,"left":0}}}`)
	if h, err := b.fold.Holdings(0, 0); err != nil || len(h.Budgets)+len(h.Pools) > 0 {
		t.Errorf("none wanted: %+v, %v", h, err)
	}
}

func TestLow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		imported, given uint64
		low             bool
	}{{0, 0, true}, {10, 9, false}, {10, 10, true}, {1000, 900, false}, {1000, 901, true}} {
		if p := (PoolState{c.imported, c.given, c.imported - c.given}); p.Low() != c.low {
			t.Errorf("%+v: %v", p, p.Low())
		}
	}
}

// TestImportAgain: an import event that comes again changes nothing, however many came
// in between.
func TestImportAgain(t *testing.T) {
	t.Parallel()
	b := itemScene(t)
	for range 2 {
		for i := range 700 {
			take(t, b, fmt.Sprintf(`{"type":"codes","pool":"spring","codes":["A%d","B%[1]d"],"messageId":"m%[1]d","timestamp":"2026-01-01T10:00:00Z"}`, i))
		}
		take(t, b, `{"type":"clock","timestamp":"2026-01-02T10:00:00Z"}`)
	}
	p, err := b.fold.Pool("spring")
	if want := (PoolState{1400, 0, 1400}); err != nil || p != want || b.Duplicates() != 700 {
		t.Errorf("%+v, %v, %d duplicates", p, err, b.Duplicates())
	}
}
