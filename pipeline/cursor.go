package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
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
	Began   map[uint32]int64  `json:"began,omitempty"`   // by epoch: from which log time on it feeds; absent: from the log's beginning, or it is not known
	Retired []Retired         `json:"retired,omitempty"` // earlier sets whose features are still fed, the oldest first

	Revision uint64           `json:"revision,omitempty"` // of the record of the live set that was carried out last
	Pauses   uint64           `json:"pauses,omitempty"`   // of the record of what is paused, likewise
	Channels []string         `json:"channels,omitempty"` // that an operator has paused
	Braked   []Braked         `json:"braked,omitempty"`   // what brakes have paused, in the order in which they did
	Second   bool             `json:"second,omitempty"`   // the state is a second one (second.go)
	Listed   []string         `json:"listed,omitempty"`   // of a second state: the features of its set that the switch will list
	Switched *Switched        `json:"switched,omitempty"` // the last switch that counted; nil: none
	Joined   *string          `json:"joined,omitempty"`   // message Seq+1 is a switch, and the users up to this key are joined; nil: none is under way
	Chains   map[string]Chain `json:"chains,omitempty"`   // by subject without partition: "offers.web", "dead"
	Applied  uint64           `json:"applied,omitempty"`  // events applied, including duplicates

	Accepted int64  `json:"accepted,omitempty"` // the stored time of the last Accept message applied; 0: none
	After    uint64 `json:"after,omitempty"`    // the number after which each chain continues, or begins, since that message (Acceptance)

	Got map[int]Position `json:"got,omitempty"` // by partition that has sent any mail: the origin of its last that was applied, or passed over
	Fan string           `json:"fan,omitempty"` // the item whose mail of message Seq+1 is being sent on to users (fanout.go); "": none
}

// A Retired is a set that was in force until a log time.
type Retired struct {
	Set string `json:"set"`
	At  int64  `json:"at"`
}

// A Braked is what a brake has paused in the partition.
type Braked struct {
	Channel  string        `json:"channel,omitempty"`  // "" if it is a campaign
	Campaign string        `json:"campaign,omitempty"` // likewise
	Seq      uint64        `json:"seq"`                // the message in which the offer went out that was one too many
	Pauses   uint64        `json:"pauses,omitempty"`   // Cursor.Pauses then: a later resume ends it
	At       int64         `json:"at"`                 // log time then
	Sent     int           `json:"sent"`               // how many offers went out within the brake's window until then
	Within   time.Duration `json:"within"`             // that window
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
	c.Began = maps.Clone(c.Began)
	c.Retired = slices.Clone(c.Retired)
	c.Braked = slices.Clone(c.Braked)
	c.Got = maps.Clone(c.Got)
	return c
}

// Revisions are the revisions of the record and of the pauses that were last applied.
func (f *Fold) Revisions() (live, pauses uint64) { return f.cur.Revision, f.cur.Pauses }

// A Chain tells how far one chain of the partition has come.
type Chain struct {
	Last Position `json:"last"`           // of the last record on the chain
	K    uint32   `json:"k,omitempty"`    // number of records on the chain, so far, from message Seq+1
	Sent uint64   `json:"sent,omitempty"` // of a chain of mails: the sequence in the receiver's log of the last message that its writer knew stored; the writer sets it at a checkpoint
}

// Sent sets Chain.Sent of a chain of mails, once a checkpoint with it is stored.
func (f *Fold) Sent(chain string, seq uint64) {
	if ch, ok := f.cur.Chains[chain]; ok {
		ch.Sent = seq
		f.cur.Chains[chain] = ch
	}
}

// A Position is carried by each record on a chain: its number N on the chain,
// the sequence S of its message, its index K (from 0) among the records on the
// chain from that message, and the stored time T of the message.
type Position struct {
	N uint64 `json:"n"`
	S uint64 `json:"s"`
	K uint32 `json:"k,omitempty"`
	T int64  `json:"t"`
	G int64  `json:"g,omitempty"` // of a mail: the stored time of the last Accept message that its sender had applied; N counts from 1 in each, and 0 is the mark of it
}
