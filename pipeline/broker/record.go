package broker

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline"
)

// Headers of every record on a chain: its pipeline.Position. A subscriber drops
// records whose number it has seen, and warns when a number is skipped.
const (
	headerN = "Offerstream-N" // number on the chain, from 1; only acceptances leave numbers out
	headerS = "Offerstream-S" // sequence in EVENTS-<p> of the message that it came from
	headerK = "Offerstream-K" // index among that message's records on the chain, from 0
	headerT = "Offerstream-T" // stored time of that message, nanoseconds since 1970

	// headerG is on messages of mails alone, which have the position of their last
	// mail: the stored time of the sender's last acceptance, 0 if there is none.
	headerG = "Offerstream-G"

	// HeaderGrants names the grants of budgets and pools that an offer went out with
	// (pipeline.Offer.Granted). An offer that needed none does not have it.
	HeaderGrants = "Offerstream-Grants"
)

// Headers of a dead letter.
const (
	headerReason = "Offerstream-Reason" // one word
	headerDetail = "Offerstream-Detail" // percent-encoded text
)

// headerAccepted is the header of a mark, which is neither an offer nor a dead
// letter. It has the reason why an operator accepted that records before the
// mark may be missing.
const headerAccepted = "Offerstream-Accepted"

// headerTest marks an offer that was made as a test. It is a CloudEvents attribute,
// as ce-campaign is.
const headerTest = "ce-test"

// maxLetter is the size in bytes to which the event in a dead letter is cut, so
// that it fits into a message of 1 MB with its headers.
const maxLetter = 900 << 10

// maxDetail is the size in bytes to which a dead letter's detail is cut.
const maxDetail = 1024

// message returns the message that publishes an effect: for an offer, a withheld or a
// page record a CloudEvent in binary mode, for a dead letter the event as it came.
func message(subject string, e pipeline.Effect) (*nats.Msg, error) {
	m := &nats.Msg{Subject: subject, Header: nats.Header{}}
	return m, compose(m, e)
}

// compose makes m the message of an effect. m may hold an earlier effect of the
// same chain.
func compose(m *nats.Msg, e pipeline.Effect) error {
	if e.Mark != nil || len(m.Header[headerAccepted]) > 0 { // marks have other headers than the other records of their chain
		clear(m.Header)
	}
	putPosition(m.Header, e.Pos)
	switch {
	case e.Mark != nil:
		putMark(m, e)
	case e.Offer != nil:
		return putOffer(m, e.Offer)
	case e.Page != nil:
		putPage(m, e.Page)
	case e.Dead != nil:
		putDead(m, *e.Dead)
	}
	return nil
}

// putMark makes m the message of a mark.
func putMark(m *nats.Msg, e pipeline.Effect) {
	m.Data = m.Data[:0]
	setHeader(m.Header, headerAccepted, percent(e.Mark.Why))
	setHeader(m.Header, "ce-specversion", "1.0")
	setHeader(m.Header, "ce-id", MarkID(e))
	setHeader(m.Header, "ce-source", "offerstream")
	setHeader(m.Header, "ce-type", "offerstream.accepted")
}

// putOffer makes m the message of an offer or a withheld record.
func putOffer(m *nats.Msg, o *pipeline.Offer) error {
	data, err := o.AppendJSON(m.Data[:0])
	if err != nil {
		return fmt.Errorf("offer %s: %w", o.ID, err)
	}
	m.Data = data
	kind := "offerstream.offer"
	if o.Withheld {
		kind = "offerstream.withheld"
	}
	putCloudEvent(m.Header, o.ID, kind, o.User, o.Time, o.Campaign, o.Expires)
	if granted := o.Granted(); granted != "" {
		setHeader(m.Header, HeaderGrants, granted)
	} else {
		delete(m.Header, HeaderGrants)
	}
	return nil
}

// putPage makes m the message of a page record.
func putPage(m *nats.Msg, r *pipeline.PageRecord) {
	m.Data = append(m.Data[:0], r.JSON()...)
	putCloudEvent(m.Header, r.ID, "offerstream."+r.Type, r.User, r.Time, r.Campaign, "")
}

// putCloudEvent sets the attributes of a CloudEvent with data in JSON.
func putCloudEvent(h nats.Header, id, kind, user, time, campaign, expires string) {
	for _, a := range [...][2]string{
		{"ce-specversion", "1.0"},
		{"ce-id", id},
		{"ce-source", "offerstream"},
		{"ce-type", kind},
		{"ce-subject", user},
		{"ce-time", time},
		{"ce-datacontenttype", "application/json"},
		{"ce-campaign", campaign},
		{"ce-expirytime", expires},
	} {
		if a[1] != "" {
			setHeader(h, a[0], percent(a[1]))
		} else {
			delete(h, a[0])
		}
	}
}

// TestMessage returns the message that publishes a test offer: that of a real one,
// without a position, as it is on no chain, and with a mark.
func TestMessage(n Names, o *pipeline.Offer) (*nats.Msg, error) {
	m := &nats.Msg{Subject: n.TestSubject(o.Channel), Header: nats.Header{}}
	if err := putOffer(m, o); err != nil {
		return nil, err
	}
	setHeader(m.Header, headerTest, "true")
	return m, nil
}

// MarkID is the ce-id of a mark.
func MarkID(e pipeline.Effect) string { return fmt.Sprintf("accepted-%d-%d", e.Pos.S, e.Pos.T) }

// IsMarkID reports whether a record's ce-id is that of a mark. The ids of offers
// are in hex.
func IsMarkID(id string) bool { return strings.HasPrefix(id, "accepted-") }

// setHeader sets a header, reusing its memory.
func setHeader(h nats.Header, name, value string) {
	if was := h[name]; len(was) == 1 {
		was[0] = value
	} else {
		h[name] = []string{value}
	}
}

// putDead makes m the message of a dead letter.
func putDead(m *nats.Msg, d pipeline.Dead) {
	m.Data = d.Raw[:min(len(d.Raw), maxLetter)]
	setHeader(m.Header, headerReason, d.Reason)
	setHeader(m.Header, headerDetail, percent(d.Detail[:min(len(d.Detail), maxDetail)]))
}

func putPosition(h nats.Header, p pipeline.Position) {
	setHeader(h, headerN, strconv.FormatUint(p.N, 10))
	setHeader(h, headerS, strconv.FormatUint(p.S, 10))
	setHeader(h, headerK, strconv.FormatUint(uint64(p.K), 10))
	setHeader(h, headerT, strconv.FormatInt(p.T, 10))
}

// putMailPosition is putPosition for mails.
func putMailPosition(h nats.Header, p pipeline.Position) {
	putPosition(h, p)
	setHeader(h, headerG, strconv.FormatInt(p.G, 10))
}

// ParsePosition reads the position of a record from its headers.
func ParsePosition(h nats.Header) (p pipeline.Position, err error) {
	num := func(name string) uint64 {
		n, e := strconv.ParseUint(h.Get(name), 10, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("header %s is %q, not a number: this message is not a record of a chain", name, h.Get(name))
		}
		return n
	}
	p = pipeline.Position{N: num(headerN), S: num(headerS), K: uint32(num(headerK)), T: int64(num(headerT))}
	if len(h[headerG]) > 0 {
		p.G = int64(num(headerG))
	}
	return p, err
}

// percent encodes a header's value as the CloudEvents binding demands: every
// byte that is not a visible ASCII character, and space, double quote and
// percent, becomes %XX.
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
