package pipeline

// A Message is one message of a partition's log.
type Message struct {
	Seq    uint64 // its sequence in EVENTS-<p>, from 1
	Stored int64  // its stored time, nanoseconds since 1970
	Kind   Kind
	Data   []byte
}

// Kind is what a message of the log is, told by the last token of its subject.
type Kind uint8

const (
	In      Kind = iota + 1 // events, newline-delimited JSON
	Tick                    // {"at": time}: moves log time
	Control                 // {"set": hash, "engine": n, "at": time}: the campaign set from here on
)

// A Cursor says how far a fold has come, and with the entities it is all that
// a fold needs to go on. It is checkpointed with them.
type Cursor struct {
	Seq     uint64            `json:"seq"`               // the last message applied whole; 0: none
	Stored  int64             `json:"stored"`            // its stored time (P5)
	Within  int               `json:"within,omitempty"`  // events of message Seq+1 applied already
	LogTime int64             `json:"log_time"`          // nanoseconds since 1970; 0: no message yet
	Set     string            `json:"set,omitempty"`     // hash of the campaign set in force
	Epoch   uint32            `json:"epoch,omitempty"`   // how many sets have been in force
	Since   map[string]uint32 `json:"since,omitempty"`   // feature or campaign, by its definition -> epoch in which it began
	Chains  map[string]Chain  `json:"chains,omitempty"`  // by subject without partition: "offers.web", "dead"
	Applied uint64            `json:"applied,omitempty"` // events applied, duplicates included
}

// A Chain is how far one chain of this partition has come.
type Chain struct {
	N uint64 `json:"n"`           // number of the last record on it
	K uint32 `json:"k,omitempty"` // records on it that came from message Seq+1 so far
}

// A Position is what every record on a chain carries: its number on the
// chain, the message that it came from, its index among that message's
// records on the chain (from 0), and that message's stored time.
type Position struct {
	N uint64
	S uint64
	K uint32
	T int64
}

// An Effect is a record that a step appends to one of its partition's chains.
type Effect struct {
	Chain string // "offers.<channel>" or "dead"
	Pos   Position
	Offer *Offer // set on offers.*
	Dead  *Dead  // set on dead
}

// A Dead letter is what could not be applied.
type Dead struct {
	Reason string
	Detail string
	Raw    []byte
}

// Entities holds the entities of one partition for a fold: a map for
// backtests, a cache over Badger for workers.
type Entities interface {
	// Entity returns the entity under key, a new one where there is none.
	// The fold may change it until its next call to any method here; the
	// holder takes it as changed.
	Entity(key string) (*Entity, error)
}
