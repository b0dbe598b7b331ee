package broker

import (
	"encoding/json"
	"time"

	"offerstream/pipeline"
)

// A Report is a worker's answer on the StatusSubject.
type Report struct {
	Member     string
	Partitions []PartitionReport // those that it owns or follows, or that have stopped
	Ahead      time.Duration     // how far the worker's clock is ahead of the clock of NATS; negative: behind
	Refused    string            // why NATS does not store its lease; empty: it does
	Engines    []int             // those that it runs; none: it is of a version that does not say, which runs engine 3 alone
	Free       int64             // bytes that its disk has free; 0: not known
}

// A PartitionReport is the status of one partition in a worker.
type PartitionReport struct {
	Partition int
	PartitionStatus
	Bytes int64 // size of its state on disk; 0: not known
}

// A PartitionStatus says how far a worker is with one partition.
type PartitionStatus struct {
	Owned   bool   // by this worker
	Follows bool   // this worker folds it and publishes nothing
	Seq     uint64 // the last message applied
	Lag     uint64 // messages after it, when last looked up
	Applied uint64 // events applied since the partition began
	Waiting int    // records not known stored
	Mails   int    // those of them that are mails to other partitions
	LogTime int64  // nanoseconds since 1970
	Set     string // hash of the campaign set in force
	Stopped string // why it stopped loudly; empty: it has not
	Refused string // why NATS does not store what this owner publishes; empty: it does, as far as is known

	Revision uint64   // of the bucket's record, as last applied
	Pauses   uint64   // of the pauses, as last applied
	Paused   []string // campaigns that operators have paused
	Channels []string // channels that operators have paused
	Braked   []string // what brakes of this partition have paused, by PauseName
	Second   *SecondStatus

	Pools map[string]pipeline.PoolState // pools of this partition of which little is left (PoolState.Low), at most MostHeld
}

// MostHeld bounds the budgets, and the pools, that an owner looks at again and again.
const MostHeld = 1000

// A SecondStatus says how far the second fold of a partition is.
type SecondStatus struct {
	Set      string // hash of the set under which it folds
	From     uint64 // the message at which it began; 0: the log's beginning
	Seq      uint64 // the last message that it has applied
	End      uint64 // the last message of the log
	CaughtUp bool
	Overdue  map[string]int // how many evaluations are overdue, by "<campaign> <channel>"
	Switched bool           // it has become the live state
	Failed   string         // why it was given up; empty: it was not
	Bytes    int64          // size of its state on disk; 0: not known
}

// A Query asks a partition's owner about a user, an item or a pool, about its budgets
// and pools, or about what is pending of all its users. It goes to the partition's QuerySubject and is answered with an Answer.
type Query struct {
	Key     string                `json:"key"`               // key of the entity of the user, the item or the pool
	Render  *pipeline.RenderQuery `json:"render,omitempty"`  // asks for a test offer instead of the user
	Pending bool                  `json:"pending,omitempty"` // asks for the Pending of the partition instead
	Held    bool                  `json:"held,omitempty"`    // asks for the pipeline.Holdings of the partition instead

	Deliver *pipeline.DeliveryQuery `json:"deliver,omitempty"` // asks whether an offer to the user may go out now
}

// A CouponQuery asks a partition's owner about a code of a user, when it has applied the
// log up to a message. It goes to the partition's CouponsSubject and is answered with an
// Answer.
type CouponQuery struct {
	Key   string `json:"key"` // key of the user's entity
	Code  string `json:"code"`
	Order string `json:"order,omitempty"`
	Seq   uint64 `json:"seq"` // 0: as it is
}

// An Answer has a pipeline.User, a pipeline.Item, a pipeline.PoolState, a
// pipeline.Rendering, a Pending, pipeline.Holdings or a pipeline.Delivery, or the reason
// why there is none.
type Answer struct {
	Error    string          `json:"error,omitempty"`
	User     json.RawMessage `json:"user,omitempty"`
	Item     json.RawMessage `json:"item,omitempty"`
	Pool     json.RawMessage `json:"pool,omitempty"`
	Held     json.RawMessage `json:"held,omitempty"`
	Rendered json.RawMessage `json:"rendered,omitempty"`
	Pending  *Pending        `json:"pending,omitempty"`

	Delivery *pipeline.Delivery    `json:"delivery,omitempty"`
	Coupon   *pipeline.CouponState `json:"coupon,omitempty"` // of a CouponQuery
}

// A Pending is what is pending in a partition, as of its last checkpoint, and what a
// change of campaigns needs to know of its state and its log.
type Pending struct {
	Seq       uint64                    `json:"seq"`       // the last message in the state that was counted
	Campaigns map[string]map[string]int `json:"campaigns"` // how many evaluations, by id without rows, and by stage: dwell, absence, delay or hold
	Fed       map[string]int64          `json:"fed"`       // pipeline.Fold.Fed
	Engine    int                       `json:"engine"`    // of the set in force
	Begins    int64                     `json:"begins"`    // stored time of the log's first message; 0: it has none
	First     uint64                    `json:"first"`     // that message
	LogTime   int64                     `json:"log_time"`
}
