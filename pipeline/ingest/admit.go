package ingest

import (
	"net/http"
	"sync"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/page"
	"offerstream/pipeline/value"
)

// An admission has what the admission of all events of one request shares.
type admission struct {
	decoder    *event.Decoder
	sender     sender
	times      *logTimes // set under clock: event
	receivedAt string    // the gateway's clock, RFC 3339
	sentAt     string    // the batch's, RFC 3339; "" if it has none
	context    []byte    // the batch's, a JSON object; nil if it has none
	copied     int       // bytes of context copied so far
	changed    []byte    // memory for the text of an event that is changed before it is judged

	translate func(dst, raw []byte, now int64) ([]byte, error) // dialect.event
	form      []byte                                           // memory for the text of an event that is translated
	kept      []byte                                           // memory for the text of an event that is redacted
	visitors  *page.Keys                                       // nil: no gateway issues ids
	bots      *bots                                            // nil: bots are not told from others
}

// translated returns a text with an event in the form of this gateway, and where it is in
// it. After an error they are as they came.
func (a *admission) translated(text []byte, v jsonValue) ([]byte, jsonValue, error) {
	raw := v.of(text)
	if err := unreadable(raw, v); err != nil {
		return text, v, err
	}
	form, err := a.translate(a.form[:0], raw, a.sender.now)
	if err != nil {
		return text, v, err
	}
	a.form = form
	in, err := soleValue(form)
	if err != nil {
		return text, v, event.Rejectf("json", "%v", err)
	}
	return form, in, nil
}

// unreadable returns why an event is refused before any parser sees it, nil if it is not.
func unreadable(raw []byte, v jsonValue) error {
	switch {
	case len(raw) > event.MaxEventBytes: // the other checks are for bodies that are read
		return event.Rejectf("size", "the event has %d bytes; at most %d are allowed", len(raw), event.MaxEventBytes)
	case v.deep:
		return event.Rejectf("json", "nested too deeply")
	case v.control:
		return event.Rejectf("json", "a string holds a raw control character")
	}
	return nil
}

// errContext refuses a batch whose context is so large that the copies of it in
// all the batch's events would exceed MaxBatchBytes.
var errContext = &problem{http.StatusRequestEntityTooLarge, "size", "the batch's context is too large to be copied into each of its events; put it into the events that need it", 0}

// admit reads one event strictly and appends its text for the log to dst. If it
// refuses the event the error is an *event.Reject, or an *event.Denied if its key may
// not send it; errContext refuses the whole batch.
//
// It judges the event that the decoder has read. What it writes reads as the same
// event: the decoder takes the first of equal members, and nothing that matters is
// written before it but the stamp.
func (a *admission) admit(dst, body []byte, v jsonValue, def event.Type) ([]byte, *event.Event, error) {
	raw := v.of(body)
	if err := unreadable(raw, v); err != nil {
		return dst, nil, err
	}
	ev, err := a.decoder.AdmitScan(raw, def)
	if err == nil && ev.Root == nil && a.needsParsed(ev) {
		ev, err = a.decoder.DecodeAs(raw, def)
	}
	if err != nil {
		if rej, ok := err.(*event.Reject); ok && rej.Type != "" {
			if no := event.JudgeType(rej.Type, a.sender.roles); no != nil {
				err = no
			}
		}
		return dst, nil, err
	}
	raw, ev, stamp, err := a.judge(raw, ev)
	if err != nil {
		return dst, nil, err
	}
	if ev.Type == event.Clock && a.times == nil {
		return dst, nil, &event.Reject{Reason: "type", Detail: "clock events are taken only under clock: event"}
	}
	s := splice{ev: ev, stamp: stamp, receivedAt: a.receivedAt, dropLogTime: a.times == nil}
	if !ev.HasSentAt {
		s.sentAt = a.sentAt
	}
	if a.context != nil && ev.OfUser() && isAbsent(ev, "context") {
		if len(raw)+len(a.context) > event.MaxEventBytes {
			return dst, nil, &event.Reject{Reason: "size", Detail: "with the batch's context the event is too large"}
		}
		if a.copied += len(a.context); a.copied > MaxBatchBytes {
			return dst, nil, errContext
		}
		s.context = a.context
	}
	if ev.Type == event.Identify && isAbsent(ev, "traits") { // where SDKs of browsers have them
		if t := ev.Root.Get("context", "traits"); t != nil && t.Type() == fastjson.TypeObject {
			if s.traits = t.MarshalTo(nil); len(raw)+len(s.context)+len(s.traits) > event.MaxEventBytes {
				return dst, nil, &event.Reject{Reason: "size", Detail: "with its context's traits as its traits the event is too large"}
			}
		}
	}
	if a.times != nil {
		at, err := a.times.pass(ev)
		if err != nil {
			return dst, nil, err
		}
		if !ev.HasLogTime {
			s.logTime = value.FormatTime(at)
		}
	}
	return s.append(dst, raw, v.newlines), ev, nil
}

// needsParsed reports whether more must be known of a scanned event than the scan tells:
// a member that is null is one to remove if another takes its place, and an event with
// a token of its own is searched for it.
func (a *admission) needsParsed(ev *event.Event) bool {
	return a.context != nil && !ev.Has("context") || ev.Type == event.Identify && !ev.Has("traits") || ev.Has(memberToken) || ev.Has(memberVisitor)
}

// judge returns an error if the sender may not send the event. Under identity:
// verified it returns another event and its text where a userId lacks proof. stamp
// says whether the log must tell that there is no proof.
func (a *admission) judge(raw []byte, ev *event.Event) (_ []byte, _ *event.Event, stamp bool, err error) {
	proved := false
	if ev.OfUser() && !a.sender.trusted() {
		proved = a.sender.proves(ev)
		stamp = !proved || a.takesVisitor(ev)
		if !proved && a.sender.verified && ev.Key[0] == 'u' {
			if raw, ev, err = a.disown(raw, ev); err != nil {
				return nil, nil, false, err
			}
		}
	}
	if no := event.Judge(ev, a.sender.roles, proved); no != nil {
		return nil, nil, false, no
	}
	return raw, ev, stamp, nil
}

// logTimes is, under clock: event, the maximum of the own times of all events
// that this gateway has admitted. It is for events without a logTime; a replay
// stamps logTime itself.
type logTimes struct {
	mu   sync.Mutex
	at   int64
	some bool
}

// pass moves log time on by an admitted event and returns log time. An event that
// is resent after a 503 passes again, which changes nothing, as log time is a
// maximum.
func (l *logTimes) pass(ev *event.Event) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, has := ev.Timestamp, ev.HasTimestamp
	if ev.HasLogTime {
		own, has = ev.LogTime, true
	}
	if has && (!l.some || own > l.at) {
		l.at, l.some = own, true
	}
	if !l.some {
		return 0, &event.Reject{Reason: "timestamp", Detail: "under clock: event the first event needs a timestamp"}
	}
	return l.at, nil
}
