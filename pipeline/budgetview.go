package pipeline

import (
	"fmt"
	"slices"

	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/window"
)

// A BudgetState is what a budget has granted. Most, Spent and Left are numbers of
// offers, or of what `of` measures.
type BudgetState struct {
	Most  float64 `json:"most"`
	Spent float64 `json:"spent"` // within the window, or on this day, or ever
	Left  float64 `json:"left"`  // 0 also where a smaller budget has taken the place of one of which more was spent
}

// Holdings are what budgets and pools of the set in force hold whose entities are in
// the fold's partition.
type Holdings struct {
	Budgets map[string]BudgetState `json:"budgets,omitempty"` // by unit: a campaign, or a row of one
	Pools   map[string]PoolState   `json:"pools,omitempty"`
}

// Holdings shows at most the first most budgets, and as many pools, at a time; a
// time before log time means log time.
func (f *Fold) Holdings(at int64, most int) (h Holdings, err error) {
	now := max(at, f.cur.LogTime)
	h = Holdings{Budgets: map[string]BudgetState{}, Pools: map[string]PoolState{}}
	for i := range f.step.live.campaigns {
		c := &f.step.live.campaigns[i]
		if c.def.Budget != nil && len(h.Budgets) < most && f.here(budgetPrefix+c.id) {
			if h.Budgets[c.id], err = f.budget(c.id, c.def.Budget, now); err != nil {
				return h, err
			}
		}
	}
	for _, name := range Pools(f.step.live.def) {
		if len(h.Pools) < most && f.here(poolPrefix+name) {
			if h.Pools[name], err = f.Pool(name); err != nil {
				return h, err
			}
		}
	}
	return h, nil
}

// here reports whether an entity is in the fold's partition.
func (f *Fold) here(key string) bool {
	return f.local() || event.Partition(key, f.partitions) == f.partition
}

// budget shows the budget of a unit. It only reads.
func (f *Fold) budget(unit string, terms *campaign.Budget, now int64) (BudgetState, error) {
	e, err := f.ents.Look(budgetPrefix + unit)
	if err != nil {
		return BudgetState{}, err
	}
	most, spent := terms.Most(), int64(0)
	if b := e.budget; b != nil && b.counts(terms, zoneDate(now, f.step.live.def.Zone)) {
		spent = b.sum(f.step.shapeOf(terms), now)
	}
	return BudgetState{float64(most) / million, float64(spent) / million, float64(max(most-spent, 0)) / million}, nil
}

// Budget shows the budget of a unit of the set, a campaign or a row of one, at log time.
func (b *Backtest) Budget(unit string) (BudgetState, error) {
	live := b.fold.step.live
	i, ok := live.unitIndex[unit]
	if !ok || live.campaigns[i].def.Budget == nil {
		return BudgetState{}, fmt.Errorf("the set has no campaign %q with a budget", unit)
	}
	return b.fold.budget(unit, live.campaigns[i].def.Budget, b.fold.cur.LogTime)
}

// Pool is Fold.Pool.
func (b *Backtest) Pool(name string) (PoolState, error) { return b.fold.Pool(name) }

// sum is what counts at now, in millionths. It is at most what some budget has
// allowed, which is below maxBudget.
func (b *budget) sum(shape *window.Shape, now int64) int64 {
	_, low := shape.SumMicros(&b.spent, now)
	return int64(low)
}

// Pools are the names of the pools from which a set's campaigns take codes, sorted.
func Pools(def *campaign.Definition) (names []string) {
	for i := range def.Campaigns {
		if c := def.Campaigns[i].Offer.Coupon; c != nil && c.Pool != "" {
			names = append(names, c.Pool)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Low reports whether under a tenth of the pool's codes is left.
func (p PoolState) Low() bool { return p.Left*10 < p.Imported || p.Imported == 0 }

// PoolKey is the key of the entity of a pool.
func PoolKey(name string) string { return poolPrefix + name }
