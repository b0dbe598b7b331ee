package ingest

import (
	"log/slog"
	"sync"

	"offerstream/pipeline/event"
)

// deniedEvery is how often, in nanoseconds, an event that its key may not send is
// logged, for each reason.
const deniedEvery = 10e9

// A deniedLog writes a sample of the events that their keys may not send to the
// process log. They are never dead letters, which somebody with another key may send
// again.
type deniedLog struct {
	log *slog.Logger

	mu   sync.Mutex
	each map[string]*deniedSample // by reason, of which there are three
}

type deniedSample struct {
	at   int64 // when the last one was logged
	more int   // since then
}

// note logs a refused event, or counts it for the next time.
func (d *deniedLog) note(now int64, s *sender, why *event.Denied) {
	d.mu.Lock()
	if d.each == nil {
		d.each = map[string]*deniedSample{}
	}
	last := d.each[why.Reason]
	if last != nil && now >= last.at && now-last.at < deniedEvery {
		last.more++
		d.mu.Unlock()
		return
	}
	more := 0
	if last != nil {
		more = last.more
	}
	d.each[why.Reason] = &deniedSample{at: now}
	d.mu.Unlock()
	d.log.Warn("an event was refused that its key may not send", "reason", why.Reason, "detail", clip(why.Detail), "key", s.key.Name, "request", s.request, "not_logged_before", more)
}
