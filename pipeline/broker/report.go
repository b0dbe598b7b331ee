package broker

import (
	"encoding/json"
	"time"
)

// A Report is what a worker answers on the StatusSubject.
type Report struct {
	Member     string
	Partitions []PartitionReport // that it owns or follows, or that have stopped
	Ahead      time.Duration     // by which the worker's clock is ahead of that of NATS; below 0: behind
}

// A PartitionReport is one partition's status with a worker.
type PartitionReport struct {
	Partition int
	PartitionStatus
	Bytes int64 // of its state on disk; 0: not known
}

// A PartitionStatus is how far a worker is with one partition.
type PartitionStatus struct {
	Owned   bool   // by this worker
	Follows bool   // it is folded here, and nothing published
	Seq     uint64 // the last message applied
	Lag     uint64 // messages behind it, when last looked at
	Applied uint64 // events applied, over its life
	Waiting int    // offers not known stored
	LogTime int64  // nanoseconds since 1970
	Set     string // hash of the campaign set in force
	Stopped string // why it stopped loudly; empty: it did not
}

// A Query asks a partition's owner about a user. It goes to the partition's
// QuerySubject and is answered with an Answer.
type Query struct {
	Key string `json:"key"` // of the user's entity
}

// An Answer has a pipeline.User, or says why there is none.
type Answer struct {
	Error string          `json:"error,omitempty"`
	User  json.RawMessage `json:"user,omitempty"`
}
