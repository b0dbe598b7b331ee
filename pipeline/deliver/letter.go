package deliver

import (
	"context"
	"fmt"
	"time"

	"offerstream/pipeline"
)

// bury stores an offer as a dead letter, and returns true when it is stored. Until then
// the offer is not acknowledged: if ctx is done before, it is worked on again later.
func (d *Deliverer) bury(ctx, hard context.Context, h *held, end *ending) bool {
	letter := pipeline.Dead{Raw: h.raw, Reason: end.reason, Detail: fmt.Sprintf("%s by %s: %s", h.who(), d.opt.Name, end.detail)}
	for tries := 1; ; tries++ {
		within, cancel := context.WithTimeout(hard, 5*time.Second)
		err := d.dead.Put(within, d.opt.Name+" "+h.who(), letter)
		cancel()
		if err == nil {
			d.met.letters.Inc()
			return true
		}
		d.opt.Log.Error("an offer that is given up cannot be stored as a dead letter: it waits", "offer", h.who(), "error", err)
		d.sleep(ctx, min(d.opt.firstWait<<min(tries, 5), 30*time.Second))
		if ctx.Err() != nil {
			return false
		}
	}
}
