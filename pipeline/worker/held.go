package worker

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
	"offerstream/pipeline/broker"
)

// heldEvery is the least time between two looks at budgets and pools.
const heldEvery = 15 * time.Second

// A heldStatus is what the owner of a partition knows of its budgets and pools.
type heldStatus struct {
	looked time.Time
	set    string          // that was in force then
	low    map[string]bool // the pools of which little is left, and of which it has said so
}

// A holding is what the metrics and the report show of budgets and pools.
type holding struct {
	budgets map[string]float64 // what is left, by campaign
	pools   map[string]pipeline.PoolState
}

// holdings looks at the budgets and pools of the partition, and warns once of a pool
// of which little is left.
func (a *attempt) holdings() {
	_, _, _, set := a.fold.At()
	if set == a.held.set && a.now().Sub(a.held.looked) < heldEvery {
		return
	}
	a.held.looked, a.held.set = a.now(), set
	h, err := a.fold.Holdings(a.present(), broker.MostHeld)
	if err != nil {
		a.p.log.Warn("cannot read what budgets and pools hold", "error", err)
		return
	}
	if len(h.Budgets)+len(h.Pools) == 0 {
		a.p.status.held.Store(nil)
		return
	}
	is := &holding{budgets: map[string]float64{}, pools: h.Pools}
	for _, unit := range slices.Sorted(maps.Keys(h.Budgets)) {
		whole, _, _ := strings.Cut(unit, "/") // all rows of a campaign together
		is.budgets[whole] += h.Budgets[unit].Left
	}
	a.p.status.held.Store(is)
	a.warnOfPools(is)
}

func (a *attempt) warnOfPools(is *holding) {
	low := map[string]bool{}
	for name, p := range is.low() {
		if low[name] = true; !a.held.low[name] && !a.p.muted.Load() {
			a.p.log.Warn("a pool has few codes left: import more with offerctl coupons import", "pool", name, "left", p.Left, "imported", p.Imported)
		}
	}
	a.held.low = low
}

// low are the pools of which little is left; none: nil.
func (h *holding) low() (all map[string]pipeline.PoolState) {
	if h == nil {
		return nil
	}
	for name, p := range h.pools {
		if p.Low() {
			if all == nil {
				all = map[string]pipeline.PoolState{}
			}
			all[name] = p
		}
	}
	return all
}

func (h *holding) collect(ch chan<- prometheus.Metric, partition string) {
	for name, left := range h.budgets {
		ch <- prometheus.MustNewConstMetric(descBudget, prometheus.GaugeValue, left, partition, name)
	}
	for name, p := range h.pools {
		ch <- prometheus.MustNewConstMetric(descPool, prometheus.GaugeValue, float64(p.Left), partition, name)
	}
}
