package deliver

import (
	"context"
	"encoding/json"
	"time"

	"offerstream/pipeline/value"
)

// maxReports is how many events are reported at once: no more than a user's state always
// remembers, so that a repetition is recognised.
const maxReports = 64

// A report is an event about an offer, on its way to the gateway.
type report struct {
	event []byte
	done  chan struct{} // closed when the gateway has it
}

// reported is a system event (LANGUAGE.md, rule 2).
type reported struct {
	Type       string       `json:"type"`
	Event      string       `json:"event"`
	ID         string       `json:"messageId"`
	User       string       `json:"userId,omitempty"`
	Anonymous  string       `json:"anonymousId,omitempty"`
	Timestamp  string       `json:"timestamp"`
	Properties reportedWhat `json:"properties"`
}

type reportedWhat struct {
	Offer    string `json:"offer_id"`
	Campaign string `json:"campaign"`
	Channel  string `json:"channel"`
	Reason   string `json:"reason,omitempty"`
}

// eventOf is the event about how an offer has ended. Its messageId is the same each time,
// so that a repetition has no effect.
func eventOf(name string, h *held, end *ending, now time.Time) ([]byte, error) {
	o := h.offer
	e := reported{Type: "system", Event: "Offer Delivered", ID: name + " " + o.ID + " delivered", User: o.User, Timestamp: value.FormatTime(now.UnixNano()),
		Properties: reportedWhat{o.ID, o.Campaign, o.Channel, end.reason}}
	if o.Anon {
		e.User, e.Anonymous = "", o.User
	}
	if !end.delivered {
		e.Event, e.ID = "Offer Failed", name+" "+o.ID+" failed"
	}
	return json.Marshal(e)
}

// tell tells the gateway how an offer has ended, and returns true when the gateway has
// the event. It returns false if ctx is done before.
func (d *Deliverer) tell(ctx context.Context, h *held, end *ending) bool {
	if h.offer == nil { // nobody's
		return true
	}
	b, err := eventOf(d.opt.Name, h, end, time.Now())
	if err != nil {
		d.opt.Log.Error("an offer's event cannot be encoded", "offer", h.who(), "error", err)
		return true
	}
	r := &report{b, make(chan struct{})}
	select {
	case d.reports <- r:
	case <-ctx.Done():
		return false
	}
	select {
	case <-r.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// reporter sends the events that have gathered, all together, until ended is closed.
func (d *Deliverer) reporter(ctx context.Context, ended <-chan struct{}) {
	for {
		var some []*report
		select {
		case <-ended:
			return
		case r := <-d.reports:
			some = append(some, r)
		}
	gather:
		for len(some) < maxReports {
			select {
			case r := <-d.reports:
				some = append(some, r)
			default:
				break gather
			}
		}
		events := make([][]byte, len(some))
		for i, r := range some {
			events[i] = r.event
		}
		for tries := 1; ctx.Err() == nil; tries++ {
			err := d.opt.Report(ctx, events)
			if err == nil {
				d.met.reported.Add(float64(len(some)))
				for _, r := range some {
					close(r.done)
				}
				break
			}
			if ctx.Err() == nil {
				d.opt.Log.Error("the gateway does not take the events about offers: they wait, and their offers are not acknowledged", "events", len(some), "error", err)
				d.sleep(ctx, min(d.opt.firstWait<<min(tries, 5), 30*time.Second))
			}
		}
	}
}
