package broker

// A PendingSurvey is the answer to Query.Pending: what is pending in a partition, and
// what a change of campaigns needs to know of its state and its log.
type PendingSurvey struct {
	Partition int              `json:"partition"`
	Seq       uint64           `json:"seq"`      // the last message in the state that was counted
	LogTime   int64            `json:"log_time"` // then, nanoseconds since 1970
	Set       string           `json:"set"`      // hash of the set in force
	Engine    int              `json:"engine"`   // of that set
	Fed       map[string]int64 `json:"fed"`      // pipeline.Fold.Fed: "feature x" or "campaign x": log time since which it is fed; not listed: since the log's beginning, as far as is known
	First     uint64           `json:"first"`    // the log's first message
	Reach     int64            `json:"reach"`    // its stored time; 0: the log is empty
	Users     int              `json:"users"`
	Pending   []PendingCount   `json:"pending"` // by campaign and stage
}

// A PendingCount is how many evaluations of a campaign, with all its rows, wait in a
// stage: dwell, absence, delay or hold.
type PendingCount struct {
	Campaign string `json:"campaign"`
	Stage    string `json:"stage"`
	N        int    `json:"n"`
}
