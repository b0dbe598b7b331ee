package oracle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
)

// A Page is a record of what others than the receivers of offers have to know.
type Page struct {
	ID   string // its idempotency key
	JSON string
}

// A told is what a page record says.
type told struct {
	Type     string `json:"type"`
	Visitor  string `json:"visitor,omitempty"`
	User     string `json:"user"`
	Anon     bool   `json:"anonymous,omitempty"`
	Offer    string `json:"offer,omitempty"`
	Campaign string `json:"campaign,omitempty"`
	Code     string `json:"code,omitempty"`
	OrderID  string `json:"orderId,omitempty"`
	Time     string `json:"time"`
}

// tell makes a page record in a step of an entity. parts are what its id is made of.
func (o *outcome) tell(t told, entity string, parts ...string) {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err)
	}
	var id bytes.Buffer
	for _, s := range append([]string{t.Type, entity}, parts...) {
		binary.Write(&id, binary.BigEndian, uint32(len(s)))
		id.WriteString(s)
	}
	sum := sha256.Sum256(id.Bytes())
	o.Pages = append(o.Pages, Page{hex.EncodeToString(sum[:16]), string(b)})
}
