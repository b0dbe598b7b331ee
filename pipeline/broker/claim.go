package broker

import (
	"encoding/json"
	"slices"
	"time"
)

// LeaseFor is how long a worker's lease lasts after it was put. A worker that
// died counts as alive for that long.
const LeaseFor = 3 * time.Second

// A Claim is the content of a worker's lease: the partitions that it owns, those
// that it follows and has caught up with, and those that it follows without
// having caught up yet. No correctness rests on it (PROTOCOL.md, P2).
type Claim struct {
	Own     []int `json:"own,omitempty"`
	Ready   []int `json:"ready,omitempty"`
	Follow  []int `json:"follow,omitempty"`
	Leaving bool  `json:"leaving,omitempty"` // it takes no more partitions
	Short   bool  `json:"short,omitempty"`   // it takes no more partitions until its disk has room
}

// ParseClaim reads a lease's value. If the value cannot be decoded, which a
// worker of another version may cause, the claim has the fields that could be.
func ParseClaim(value []byte) (c Claim, err error) {
	err = json.Unmarshal(value, &c)
	return c, err
}

// Value encodes the claim for PutLease.
func (c Claim) Value() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers and booleans can always be encoded
	}
	return b
}

// Equal reports whether both claims are the same, with partitions in the same
// order.
func (c Claim) Equal(o Claim) bool {
	return slices.Equal(c.Own, o.Own) && slices.Equal(c.Ready, o.Ready) && slices.Equal(c.Follow, o.Follow) && c.Leaving == o.Leaving && c.Short == o.Short
}
