package broker

import (
	"encoding/json"
	"slices"
	"time"
)

// LeaseFor is how long a worker's lease lasts after it was put: for so long a
// worker that is not heard counts as alive.
const LeaseFor = 3 * time.Second

// A Claim is what a worker says of itself in its lease: which partitions it
// owns, which it follows and has caught up with, and which it only follows so
// far. No correctness rests on it (PROTOCOL.md, P2).
type Claim struct {
	Own     []int `json:"own,omitempty"`
	Ready   []int `json:"ready,omitempty"`
	Follow  []int `json:"follow,omitempty"`
	Leaving bool  `json:"leaving,omitempty"` // it takes nothing more,
	Short   bool  `json:"short,omitempty"`   // until there is room on its disk
}

// ParseClaim reads a lease's value. With an error, which a worker of another
// version may cause, the claim has what could be read.
func ParseClaim(value []byte) (c Claim, err error) {
	err = json.Unmarshal(value, &c)
	return c, err
}

// Value is the claim as PutLease takes it.
func (c Claim) Value() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers and booleans can always be encoded
	}
	return b
}

// Equal reports whether both claim the same, in the same order.
func (c Claim) Equal(o Claim) bool {
	return slices.Equal(c.Own, o.Own) && slices.Equal(c.Ready, o.Ready) && slices.Equal(c.Follow, o.Follow) && c.Leaving == o.Leaving && c.Short == o.Short
}
