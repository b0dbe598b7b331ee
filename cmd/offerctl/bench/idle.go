package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// idleRate is the load of a small shop, in events per second.
const idleRate = 100.0

// idleMeasure is a tenth of a core, in percent, to which the CPU under that load is compared.
const idleMeasure = 10.0

// idleConns is how many connections the events come over.
const idleConns = 8

const defaultIdleTurn = 20 * time.Second

// An idleReport is the result of `bench --idle`: medians of the rounds.
type idleReport struct {
	Ratio      float64 `json:"ratio"` // idleMeasure / the percent of a core with events
	Rate       float64 `json:"events_per_s"`
	Percent    float64 `json:"cpu_percent"`      // of a core, with events
	Idle       float64 `json:"idle_cpu_percent"` // without
	Resident   float64 `json:"resident_mb"`      // memory, after the turns with events; 0 where it is not known
	IdleMemory float64 `json:"idle_resident_mb"` // after those without
	P50        float64 `json:"p50_ms"`           // of the answers to the events
	P99        float64 `json:"p99_ms"`
}

// A turnUse is what a process has taken in a turn.
type turnUse struct {
	percent  float64 // of a core
	resident float64 // MB, at its end
	p50, p99 float64 // ms
}

// idle is `bench --idle`: what offerctl serve takes with few events, and with none.
func (b *Run) idle(ctx context.Context) (*idleReport, error) {
	log, err := os.Create(filepath.Join(b.dir, "serve.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	addr, meter, stop, err := b.startServe(ctx, log)
	if err == nil {
		defer stop()
		var r *idleReport
		if r, err = b.idleTurns(ctx, addr, meter); err == nil {
			return r, nil
		}
	}
	said, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("%w\nofferctl serve has logged:\n%s", err, said[max(len(said)-errorEnd, 0):])
}

// startServe starts this program as offerctl serve, and returns the addresses that
// receive events and that report its resource usage.
func (b *Run) startServe(ctx context.Context, log *os.File) (addr, meter string, stop func(), err error) {
	cmd, in, out, err := part{Role: "serve", program: b.program, log: log, args: []string{"serve", "--dir", filepath.Join(b.dir, "serve"),
		"--server-key", writeKey, "--addr", "127.0.0.1:0", "--nats-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0"}}.launch(ctx)
	if err != nil {
		return "", "", nil, err
	}
	stop = func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}
	meter, err = firstLine(out)
	for err == nil {
		var line string
		line, err = firstLine(out)
		if rest, ok := strings.CutPrefix(line, "events: http://"); ok {
			addr, _, _ = strings.Cut(rest, "/")
			return addr, meter, stop, nil
		}
	}
	stop()
	return "", "", nil, fmt.Errorf("bench: offerctl serve has ended: %w", err)
}

// idleTurns measures turns without events and with them.
func (b *Run) idleTurns(ctx context.Context, addr, meter string) (*idleReport, error) {
	c, err := dial(addr, idleConns, formOf("own", writeKey, gatewayLoad(b.Users)).singles)
	if err != nil {
		return nil, err
	}
	defer c.close()
	b.say("offerctl serve takes its first events")
	if _, err := c.open(ctx, idleRate, b.idleTurn/4); err != nil {
		return nil, err
	}
	var none, some []turnUse
	for i := range b.Rounds {
		b.say("round %d of %d: no events", i+1, b.Rounds)
		one, err := idleTurn(ctx, meter, func() ([]time.Duration, error) { return nil, pauseFor(ctx, b.idleTurn) })
		if err != nil {
			return nil, err
		}
		none = append(none, one)
		b.say("round %d of %d: %.0f events per second", i+1, b.Rounds, idleRate)
		if one, err = idleTurn(ctx, meter, func() ([]time.Duration, error) { return c.open(ctx, idleRate, b.idleTurn) }); err != nil {
			return nil, err
		}
		some = append(some, one)
	}
	r := &idleReport{Rate: idleRate}
	percent := func(v turnUse) float64 { return v.percent }
	resident := func(v turnUse) float64 { return v.resident }
	r.Percent, r.Idle = medianOf(some, percent), medianOf(none, percent)
	r.Resident, r.IdleMemory = medianOf(some, resident), medianOf(none, resident)
	r.P50, r.P99 = medianOf(some, func(v turnUse) float64 { return v.p50 }), medianOf(some, func(v turnUse) float64 { return v.p99 })
	r.Ratio = idleMeasure / r.Percent
	return r, nil
}

// idleTurn measures a process while do runs.
func idleTurn(ctx context.Context, meter string, do func() ([]time.Duration, error)) (u turnUse, err error) {
	before, err := usage(ctx, meter, "")
	if err != nil {
		return u, err
	}
	took, err := do()
	if err != nil {
		return u, err
	}
	after, err := usage(ctx, meter, "")
	if err != nil {
		return u, err
	}
	u.percent, u.resident = 100*(after.CPU-before.CPU)/(after.Seconds-before.Seconds), float64(after.Resident)/1e6
	if len(took) > 0 {
		u.p50, u.p99 = millis(quantile(took, .5)), millis(quantile(took, .99))
	}
	return u, nil
}

func (r *idleReport) Print(w io.Writer) {
	fmt.Fprintf(w, "%-24s  %14s  %12s\n", "offerctl serve", "of a core", "resident")
	fmt.Fprintf(w, "%-24s  %12.2f %%  %9.0f MB\n", "no events", r.Idle, r.IdleMemory)
	fmt.Fprintf(w, "%-24s  %12.2f %%  %9.0f MB   answers: p50 %.2f ms, p99 %.2f ms\n", fmt.Sprintf("%.0f events per second", r.Rate), r.Percent, r.Resident, r.P50, r.P99)
}
