package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
)

// A Cursor says how far a fold has come, and with the entities it is all that
// a fold needs to go on. It is checkpointed with them.
type Cursor struct {
	Seq     uint64            `json:"seq"`               // the last message applied whole; 0: none
	Stored  int64             `json:"stored"`            // its stored time (PROTOCOL.md, P5)
	Within  int               `json:"within,omitempty"`  // events of message Seq+1 applied already
	Partly  int64             `json:"partly,omitempty"`  // stored time of message Seq+1 where steps of it are made already, timers too (P5)
	LogTime int64             `json:"log_time"`          // nanoseconds since 1970; 0: no message yet
	Set     string            `json:"set,omitempty"`     // hash of the campaign set in force
	Epoch   uint32            `json:"epoch,omitempty"`   // how many sets have been in force
	Since   map[string]uint32 `json:"since,omitempty"`   // feature or campaign, by its definition -> epoch in which it began
	Chains  map[string]Chain  `json:"chains,omitempty"`  // by subject without partition: "offers.web", "dead"
	Applied uint64            `json:"applied,omitempty"` // events applied, duplicates included

	Accepted int64 `json:"accepted,omitempty"` // stored time of the last Accept message applied; 0: none
}

// versioned is a Cursor as it is stored.
type versioned struct {
	Version int `json:"version"` // RecordVersion of who wrote it
	Cursor
}

// JSON is the cursor as it is stored: an object with the record version of the
// entities beside it.
func (c Cursor) JSON() ([]byte, error) { return json.Marshal(versioned{RecordVersion, c}) }

// ReadCursor reads what JSON wrote, here or in an older version from
// oldestRecord on. A newer version's is ErrNewer: so are its entities, which
// nobody need look at then.
func ReadCursor(b []byte) (Cursor, error) {
	var v versioned
	err := json.Unmarshal(b, &v)
	var wrongType *json.UnmarshalTypeError
	if err == nil || errors.As(err, &wrongType) && v.Version > RecordVersion {
		err = ReadsRecords(v.Version)
	}
	if err != nil {
		return Cursor{}, fmt.Errorf("cursor: %w", err)
	}
	return v.Cursor, nil
}

func (c Cursor) clone() Cursor {
	c.Chains, c.Since = maps.Clone(c.Chains), maps.Clone(c.Since)
	return c
}

// A Chain is how far one chain of this partition has come.
type Chain struct {
	Last Position `json:"last"`        // of the last record on it
	K    uint32   `json:"k,omitempty"` // records on it that came from message Seq+1 so far
}

// A Position is what every record on a chain carries: its number on the
// chain, the message that it came from, its index among that message's
// records on the chain (from 0), and that message's stored time.
type Position struct {
	N uint64 `json:"n"`
	S uint64 `json:"s"`
	K uint32 `json:"k,omitempty"`
	T int64  `json:"t"`
}
