package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
)

// A Cursor tells how far a fold has come. Together with the entities it is all
// that a fold needs in order to continue. It is checkpointed with them.
type Cursor struct {
	Seq     uint64            `json:"seq"`               // the last message that was applied completely; 0: none
	Stored  int64             `json:"stored"`            // the stored time of that message (PROTOCOL.md, P5)
	Within  int               `json:"within,omitempty"`  // events of message Seq+1 that are already applied
	Partly  int64             `json:"partly,omitempty"`  // the stored time of message Seq+1 if any step of it, also of a timer, is made; else 0 (P5)
	LogTime int64             `json:"log_time"`          // nanoseconds since 1970; 0: no message yet
	Set     string            `json:"set,omitempty"`     // hash of the campaign set in force
	Epoch   uint32            `json:"epoch,omitempty"`   // number of changes of the set in force
	Since   map[string]uint32 `json:"since,omitempty"`   // by feature or campaign (a hash of its definition): the epoch in which it began
	Paused  []string          `json:"paused,omitempty"`  // ids of campaigns that an operator has paused
	Pauses  uint64            `json:"pauses,omitempty"`  // the revision of the pauses in force
	Chains  map[string]Chain  `json:"chains,omitempty"`  // by subject without partition: "offers.web", "dead"
	Applied uint64            `json:"applied,omitempty"` // events applied, including duplicates

	Channels []string `json:"channels,omitempty"` // whose advertising an operator has paused
	Braked   []Braked `json:"braked,omitempty"`   // what brakes have paused here; a fold never changes an element

	Accepted int64  `json:"accepted,omitempty"` // the stored time of the last Accept message applied; 0: none
	After    uint64 `json:"after,omitempty"`    // the number after which each chain continues, or begins, since that message (Acceptance)
}

// A versioned is a Cursor in its stored form.
type versioned struct {
	Version int `json:"version"` // the RecordVersion of the writer
	Cursor
}

// JSON is the stored form of the cursor. It contains the record version, which
// is also that of the entities stored with it.
func (c Cursor) JSON() ([]byte, error) { return json.Marshal(versioned{RecordVersion, c}) }

// ReadCursor reads the output of JSON, of this version or an older one down to
// oldestRecord. A cursor of a newer version is ErrNewer; the entities stored
// with it are of that version too.
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

// clone copies what a fold changes. Since has an entry for each campaign, and a fold
// never changes it, but replaces it.
func (c Cursor) clone() Cursor {
	c.Chains = maps.Clone(c.Chains)
	return c
}

// A Chain tells how far one chain of the partition has come.
type Chain struct {
	Last Position `json:"last"`        // of the last record on the chain
	K    uint32   `json:"k,omitempty"` // number of records on the chain, so far, from message Seq+1
}

// A Position is carried by each record on a chain: its number N on the chain,
// the sequence S of its message, its index K (from 0) among the records on the
// chain from that message, and the stored time T of the message.
type Position struct {
	N uint64 `json:"n"`
	S uint64 `json:"s"`
	K uint32 `json:"k,omitempty"`
	T int64  `json:"t"`
}
