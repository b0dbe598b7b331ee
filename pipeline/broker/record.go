package broker

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
)

// Headers that every record on a chain carries: its pipeline.Position. A
// subscriber drops an n that it has seen and warns when n skips.
const (
	headerN = "Offerstream-N" // number on the chain, from 1
	headerS = "Offerstream-S" // sequence in EVENTS that it came from
	headerK = "Offerstream-K" // index among that message's records on the chain
	headerT = "Offerstream-T" // stored time of EVENTS[s], nanoseconds since 1970
)

// Headers of a dead letter.
const (
	headerReason = "Offerstream-Reason" // one word
	headerDetail = "Offerstream-Detail" // percent-encoded text
)

// headerAccepted is on a Mark, which is no offer and no dead letter: why an
// operator accepted that what should stand before it may be missing.
const headerAccepted = "Offerstream-Accepted"

// maxLetter bounds the raw bytes in a dead letter, so that it fits into a
// message of 1 MB with its headers; what is longer is cut.
const maxLetter = 900 << 10

// message is an effect as it is published: an offer as a CloudEvent in binary
// mode, a dead letter as it came.
func message(subject string, e pipeline.Effect) (*nats.Msg, error) {
	m := &nats.Msg{Subject: subject, Header: nats.Header{}}
	return m, compose(m, e)
}

// compose makes m the message of an effect, whatever effect of its chain it was
// before.
func compose(m *nats.Msg, e pipeline.Effect) error {
	if e.Mark != nil || len(m.Header[headerAccepted]) > 0 { // the only ones that share few headers with others
		clear(m.Header)
	}
	putPosition(m.Header, e.Pos)
	switch {
	case e.Mark != nil:
		m.Data = m.Data[:0]
		setHeader(m.Header, headerAccepted, percent(e.Mark.Why))
		setHeader(m.Header, "ce-specversion", "1.0")
		setHeader(m.Header, "ce-id", MarkID(e))
		setHeader(m.Header, "ce-source", "offerstream")
		setHeader(m.Header, "ce-type", "offerstream.accepted")
	case e.Offer != nil:
		data, err := e.Offer.AppendJSON(m.Data[:0])
		if err != nil {
			return fmt.Errorf("offer %s: %w", e.Offer.ID, err)
		}
		m.Data = data
		o := e.Offer
		for _, a := range [...][2]string{
			{"ce-specversion", "1.0"},
			{"ce-id", o.ID},
			{"ce-source", "offerstream"},
			{"ce-type", "offerstream.offer"},
			{"ce-subject", o.User},
			{"ce-time", o.Time},
			{"ce-datacontenttype", "application/json"},
			{"ce-campaign", o.Campaign},
			{"ce-expirytime", o.Expires},
		} {
			if a[1] != "" {
				setHeader(m.Header, a[0], percent(a[1]))
			} else {
				delete(m.Header, a[0])
			}
		}
	case e.Dead != nil:
		putDead(m, *e.Dead)
	}
	return nil
}

// MarkID is the ce-id of a Mark.
func MarkID(e pipeline.Effect) string { return fmt.Sprintf("accepted-%d-%d", e.Pos.S, e.Pos.T) }

// setHeader sets a header in the memory that it has.
func setHeader(h nats.Header, name, value string) {
	if was := h[name]; len(was) == 1 {
		was[0] = value
	} else {
		h[name] = []string{value}
	}
}

// putDead makes m a dead letter.
func putDead(m *nats.Msg, d pipeline.Dead) {
	m.Data = d.Raw[:min(len(d.Raw), maxLetter)]
	setHeader(m.Header, headerReason, d.Reason)
	setHeader(m.Header, headerDetail, percent(d.Detail[:min(len(d.Detail), 1024)]))
}

func putPosition(h nats.Header, p pipeline.Position) {
	setHeader(h, headerN, strconv.FormatUint(p.N, 10))
	setHeader(h, headerS, strconv.FormatUint(p.S, 10))
	setHeader(h, headerK, strconv.FormatUint(uint64(p.K), 10))
	setHeader(h, headerT, strconv.FormatInt(p.T, 10))
}

// ParsePosition reads the position of a record from its headers.
func ParsePosition(h nats.Header) (p pipeline.Position, err error) {
	num := func(name string) uint64 {
		n, e := strconv.ParseUint(h.Get(name), 10, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("header %s is %q, not a number: this message is no record of a chain", name, h.Get(name))
		}
		return n
	}
	p = pipeline.Position{N: num(headerN), S: num(headerS), K: uint32(num(headerK)), T: int64(num(headerT))}
	return p, err
}

// percent encodes a header's value as the CloudEvents binding asks: what is
// no visible ASCII character, and space, double quote and percent, as %XX of
// its UTF-8 bytes.
func percent(s string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }
	n := 0
	for n < len(s) && plain(s[n]) {
		n++
	}
	if n == len(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if plain(s[i]) {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}
