package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"offerstream/pipeline/value"
)

// The types of page records.
const (
	PageMerged   = "merged"   // a visitor has become a user
	PageRedeemed = "redeemed" // a user has used the code of a coupon
	PageVoided   = "voided"   // a code that was used can be used once more
)

// A PageRecord says what happened to a user that others than the receivers of offers
// have to know: gateways, which show offers on pages. It is on a chain of its own,
// that of the partition in which it happened: of a merge, that of the visitor.
type PageRecord struct {
	ID       string `json:"-"` // idempotency key (pageID)
	Type     string `json:"type"`
	Visitor  string `json:"visitor,omitempty"` // anonymousId; of a merge
	User     string `json:"user"`              // userId; of a visitor's coupon the anonymousId, with Anon
	Anon     bool   `json:"anonymous,omitempty"`
	Offer    string `json:"offer,omitempty"`    // the offer's ID; of a coupon, as are those below
	Campaign string `json:"campaign,omitempty"` // with its row
	Code     string `json:"code,omitempty"`     // as it was given out
	OrderID  string `json:"orderId,omitempty"`
	Time     string `json:"time"` // log time, RFC 3339
}

// JSON is the content of the record.
func (r *PageRecord) JSON() []byte {
	b, _ := json.Marshal(r) // texts alone, which have no errors
	return b
}

// pageID is the identity of a page record: the first 16 bytes, in hex, of a SHA-256
// over its type, the key of the entity in whose step it was made, and what tells it
// from others there, each preceded by its length (4 bytes, big-endian). The same log
// gives the same.
func pageID(kind, entity string, parts ...string) string {
	b := make([]byte, 0, 160)
	for _, s := range append([]string{kind, entity}, parts...) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// tellMerged makes the record of a visitor who gives a user the whole record.
func (s *step) tellMerged(user string) {
	at := value.FormatTime(s.now)
	s.page(&PageRecord{ID: pageID(PageMerged, s.entity.Key, user, at), Type: PageMerged, Visitor: s.entity.Key[2:], User: user[2:], Time: at})
}

// pageRecord appends a page record to its chain.
func (f *Fold) pageRecord(r *PageRecord) { f.emit(Effect{Chain: pageChain, Page: r}) }
