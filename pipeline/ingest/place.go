package ingest

import (
	"hash/maphash"

	"offerstream/pipeline/event"
)

// place admits one event and adds it to its partition's parcel; a fact or a clock
// event to the parcels of all partitions. raw is the event in the form of this gateway, as
// far as it could be translated, for a dead letter.
func (g *Gateway) place(req *request, a *admission, text []byte, v jsonValue, def event.Type) (raw []byte, err error) {
	if text, v, err = g.form(a, text, v); err != nil && g.redaction != nil {
		return withheld, err
	}
	if err == nil {
		err = g.placeForm(req, a, text, v, def)
	}
	if rej, ok := err.(*event.Reject); ok && g.redaction != nil && rej.Reason == "json" {
		return withheld, err
	}
	return v.of(text), err
}

// form returns a text with the event in this gateway's form, as it may be stored, and where
// it is in it. After an error it is as it came, or as far as it could be brought.
func (g *Gateway) form(a *admission, text []byte, v jsonValue) (_ []byte, _ jsonValue, err error) {
	if a.translate != nil {
		if text, v, err = a.translated(text, v); err != nil {
			return text, v, err
		}
	}
	if g.redaction != nil {
		return a.redacted(g.redaction, text, v)
	}
	return text, v, nil
}

// placeForm is place for an event in this gateway's form.
func (g *Gateway) placeForm(req *request, a *admission, text []byte, v jsonValue, def event.Type) error {
	from := len(req.text)
	out, ev, err := a.admit(req.text, text, v, def)
	if err != nil {
		return err
	}
	if a.bots != nil && a.bots.sent(ev) {
		return errBot
	}
	req.text = out
	if ev.OfUser() && g.opt.UserRate > 0 && !a.sender.trusted() {
		req.share(maphash.String(g.rates.seed, ev.Key))
	}
	if ev.TimestampErr != nil {
		g.met.problems.WithLabelValues("timestamp").Inc()
	}
	switch ev.Type {
	case event.Clock:
		req.clocks++
	case event.Fact:
		req.facts++
	default:
		req.events++
		req.add(g.lanes[event.Partition(ev.Key, len(g.lanes))], from)
		return nil
	}
	for _, l := range g.lanes {
		req.add(l, from)
	}
	return nil
}
