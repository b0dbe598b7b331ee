package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
)

// An Offer is what goes out: on its subject, in a backtest's file, in a
// user's history. Its JSON is the same everywhere; Data is without white space.
type Offer struct {
	ID       string          `json:"id"` // the idempotency key
	Campaign string          `json:"campaign"`
	Channel  string          `json:"channel"`
	Kind     string          `json:"kind"`
	User     string          `json:"user"`                // the bare userId or anonymousId
	Anon     bool            `json:"anonymous,omitempty"` // User is an anonymousId
	Event    string          `json:"event"`               // messageId of the event that triggered
	Key      string          `json:"key,omitempty"`       // of an absence with match
	Time     string          `json:"time"`                // log time, RFC 3339
	Expires  string          `json:"expires,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
}

// AppendJSON appends the offer's JSON, byte for byte what encoding/json makes
// of it, which is slow.
func (o *Offer) AppendJSON(dst []byte) ([]byte, error) {
	plain := true
	for _, s := range [...]string{o.ID, o.Campaign, o.Channel, o.Kind, o.User, o.Event, o.Key, o.Time, o.Expires} {
		for i := range len(s) {
			c := s[i]
			plain = plain && c >= ' ' && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
		}
	}
	for _, c := range o.Data { // 0xe2 begins the two line separators, which are escaped too
		plain = plain && c != '<' && c != '>' && c != '&' && c != 0xe2
	}
	if !plain {
		b, err := json.Marshal(o)
		return append(dst, b...), err
	}
	text := func(before, s string) { dst = append(append(append(dst, before...), s...), '"') }
	text(`{"id":"`, o.ID)
	text(`,"campaign":"`, o.Campaign)
	text(`,"channel":"`, o.Channel)
	text(`,"kind":"`, o.Kind)
	text(`,"user":"`, o.User)
	if o.Anon {
		dst = append(dst, `,"anonymous":true`...)
	}
	text(`,"event":"`, o.Event)
	if o.Key != "" {
		text(`,"key":"`, o.Key)
	}
	text(`,"time":"`, o.Time)
	if o.Expires != "" {
		text(`,"expires":"`, o.Expires)
	}
	if len(o.Data) > 0 {
		dst = append(append(dst, `,"data":`...), o.Data...)
	}
	return append(dst, '}'), nil
}

// OfferID is an offer's identity: the first 16 bytes, in hex, of the SHA-256
// of campaign, entity key, match key and trigger messageId, each after its
// length (4 bytes, big-endian), and of one that has waited its first due time
// (8 bytes, big-endian, nanoseconds since 1970; firstDue 0: it has not).
func OfferID(campaign, entity, matchKey, trigger string, firstDue int64) string {
	b := make([]byte, 0, 160)
	for _, s := range [...]string{campaign, entity, matchKey, trigger} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	if firstDue != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(firstDue))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
