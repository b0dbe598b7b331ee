package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"

	"offerstream/pipeline/event"
)

// An Offer is what goes out to a user. Its JSON is the same on its subject, in
// the file of a backtest and in the history of a user. Data has no white space.
//
// A withheld record has the same form. It says what would have gone out to a user
// of a holdout, is on a chain of its own, and goes out to nobody.
type Offer struct {
	ID       string          `json:"id"` // idempotency key (OfferID)
	Campaign string          `json:"campaign"`
	Channel  string          `json:"channel"`
	Kind     string          `json:"kind"`
	User     string          `json:"user"`                // userId or anonymousId
	Anon     bool            `json:"anonymous,omitempty"` // User is an anonymousId
	Event    string          `json:"event"`               // messageId of the trigger
	Key      string          `json:"key,omitempty"`       // match key of an absence
	Time     string          `json:"time"`                // log time, RFC 3339
	Expires  string          `json:"expires,omitempty"`
	Coupon   *OfferCoupon    `json:"coupon,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	Withheld bool            `json:"withheld,omitempty"`
	grants   []grant         // with which it goes out (Granted)
	pooled   bool            // a pool gave the coupon's code
	until    int64           // when the coupon expires; NoDue: never
	Test     bool            `json:"test,omitempty"` // Fold.Render made it: it is on no chain and counted nowhere
}

// Entity is the key of the user's entity.
func (o *Offer) Entity() string { return event.UserKey(o.User, o.Anon) }

// An OfferCoupon is the coupon of an offer. The campaign gives all but Code, URL
// and Expires, and nothing here acts on it.
type OfferCoupon struct {
	Discount  string `json:"discount,omitempty"`
	SingleUse bool   `json:"single_use,omitempty"`
	Claim     string `json:"claim,omitempty"`
	Code      string `json:"code"`              // of package coupon; coupon.Placeholder without keys
	URL       string `json:"url,omitempty"`     // the set's address with the code
	Expires   string `json:"expires,omitempty"` // RFC 3339
}

// texts are all the texts of the coupon.
func (c *OfferCoupon) texts() [5]string {
	return [...]string{c.Discount, c.Claim, c.Code, c.URL, c.Expires}
}

// isPlain reports whether encoding/json writes all of the texts without escapes.
func isPlain(texts ...string) bool {
	for _, s := range texts {
		for i := range len(s) {
			if !plainByte[s[i]] {
				return false
			}
		}
	}
	return true
}

var plainByte = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= ' ' && c < 0x7f && !strings.ContainsRune("\"\\<>&", rune(c))
	}
	return plain
}()

// AppendJSON appends the offer's JSON: the same bytes as encoding/json, which
// is slower.
func (o *Offer) AppendJSON(dst []byte) ([]byte, error) {
	plain := isPlain(o.ID, o.Campaign, o.Channel, o.Kind, o.User, o.Event, o.Key, o.Time, o.Expires)
	if o.Coupon != nil {
		texts := o.Coupon.texts()
		plain = plain && isPlain(texts[:]...)
	}
	for _, c := range o.Data { // 0xe2 begins U+2028 and U+2029, which encoding/json escapes
		if c == '<' || c == '>' || c == '&' || c == 0xe2 {
			plain = false
			break
		}
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
	if o.Coupon != nil {
		dst = o.Coupon.appendPlain(append(dst, `,"coupon":`...))
	}
	if len(o.Data) > 0 {
		dst = append(append(dst, `,"data":`...), o.Data...)
	}
	if o.Withheld {
		dst = append(dst, `,"withheld":true`...)
	}
	if o.Test {
		dst = append(dst, `,"test":true`...)
	}
	return append(dst, '}'), nil
}

// appendPlain appends the coupon's JSON, if no text of it needs escapes.
func (c *OfferCoupon) appendPlain(dst []byte) []byte {
	dst = append(dst, '{')
	text := func(name, s string) { dst = append(append(append(append(dst, name...), '"'), s...), `",`...) }
	if c.Discount != "" {
		text(`"discount":`, c.Discount)
	}
	if c.SingleUse {
		dst = append(dst, `"single_use":true,`...)
	}
	if c.Claim != "" {
		text(`"claim":`, c.Claim)
	}
	text(`"code":`, c.Code)
	if c.URL != "" {
		text(`"url":`, c.URL)
	}
	if c.Expires != "" {
		text(`"expires":`, c.Expires)
	}
	dst[len(dst)-1] = '}'
	return dst
}

// OfferID is the identity of an offer: the first 16 bytes, in hex, of a
// SHA-256. The hash is over campaign, entity key, match key and the trigger's
// messageId, each preceded by its length (4 bytes, big-endian). If a timer brought
// the evaluation (a dwell, an absence or the end of a session), it is also over
// when that was due (8 bytes, big-endian, nanoseconds since 1970); else firstDue is
// NoDue. The best hour and quiet hours change nothing.
func OfferID(campaign, entity, matchKey, trigger string, firstDue int64) string {
	b := make([]byte, 0, 160)
	for _, s := range [...]string{campaign, entity, matchKey, trigger} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	if firstDue != NoDue {
		b = binary.BigEndian.AppendUint64(b, uint64(firstDue))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
