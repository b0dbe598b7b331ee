package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Settings of the streams, from PROTOCOL.md's table and P3.
const (
	dedupe         = 2 * time.Minute // how long the stream knows a pack's id
	keepPerSubject = 100_000         // records that a chain keeps

	// Bytes that the server reserves when it makes a stream. If it does not have
	// that many, create halves them until they fit. They are seven eighths of a
	// power of two, so that a server whose storage is that power of two has room
	// for both streams.
	maxOffers     = 7 << 30
	maxDead       = 7 << 27
	leastReserved = 16 << 20
)

// deployment is what the first process has written and all others must match.
type deployment struct {
	Partitions int `json:"partitions"`
}

const deploymentKey = "deployment"

// provision makes streams and buckets that do not exist and checks those that
// do. It reads before it makes, so that a user without the right to make
// anything can connect once everything exists. If several processes make the
// same stream at once, all but the first read it again.
func (c *Conn) provision(ctx context.Context) error {
	ctx, end := c.denied.watch(ctx)
	defer end()
	bucket := c.Names.CampaignsBucket()
	var err error
	c.kv, err = c.JS.KeyValue(ctx, bucket)
	if c.opt.Join {
		return c.join(ctx, bucket, err)
	}
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		c.kv, err = c.JS.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucket, Storage: jetstream.FileStorage, Replicas: c.opt.Replicas,
			Description: "campaign sets by hash, which is live, and the deployment"})
		err = c.denied.making(err)
		if errors.Is(err, jetstream.ErrBucketExists) {
			c.kv, err = c.JS.KeyValue(ctx, bucket)
		}
	}
	if err != nil {
		return c.failed("bucket "+bucket, err)
	}
	if err := c.deployment(ctx); err != nil {
		return err
	}
	for _, want := range c.streams() {
		if err := c.stream(ctx, want); err != nil {
			return c.failed("stream "+want.Name, err)
		}
	}
	if _, err := c.group(ctx); err != nil {
		return c.failed("bucket "+c.Names.GroupBucket(), err)
	}
	if _, err := c.snapshots(ctx); err != nil {
		return c.failed("bucket "+c.Names.SnapshotsBucket(), err)
	}
	return nil
}

// join accepts an existing deployment as it is.
func (c *Conn) join(ctx context.Context, bucket string, err error) error {
	if err == nil {
		_, err = c.kv.Get(ctx, deploymentKey)
	}
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrKeyNotFound) {
		return errors.New("there is no deployment yet: start a worker or a gateway, which makes it")
	}
	if err != nil {
		return c.failed("bucket "+bucket, err)
	}
	if err := c.deployment(ctx); err != nil {
		return err
	}
	// Whoever makes a deployment makes this stream last.
	last := c.Names.EventsStream(c.Partitions - 1)
	if _, err := c.JS.Stream(ctx, last); errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("stream %s does not exist yet: a worker or a gateway makes it", last)
	}
	return nil // any other error may concern only what this process does not need
}

// deployment reads the number of partitions, or writes it in a new deployment.
func (c *Conn) deployment(ctx context.Context) error {
	what := "deployment in bucket " + c.Names.CampaignsBucket()
	e, err := c.kv.Get(ctx, deploymentKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		e, err = c.deploy(ctx)
	}
	if err != nil {
		return c.failed(what, err)
	}
	var d deployment
	if err := json.Unmarshal(e.Value(), &d); err != nil || d.Partitions < 1 {
		return &Refusal{what, fmt.Sprintf("%q does not say how many partitions there are", e.Value()), "is this another program's bucket? Use another prefix"}
	}
	if c.opt.Partitions != 0 && c.opt.Partitions != d.Partitions {
		return &Refusal{what, fmt.Sprintf("it has %d partitions, not %d", d.Partitions, c.opt.Partitions),
			"leave the number out to take the deployment's; to change it, replay into a deployment with another prefix"}
	}
	c.Partitions = d.Partitions
	return nil
}

// deploy writes the number of partitions, unless another process was faster. If
// logs exist already, the bucket has been lost, and a guessed number would send
// users to other partitions than before: deploy refuses.
func (c *Conn) deploy(ctx context.Context) (jetstream.KeyValueEntry, error) {
	_, err := c.JS.Stream(ctx, c.Names.EventsStream(0))
	if err == nil {
		e, err := c.kv.Get(ctx, deploymentKey)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			bucket := c.Names.CampaignsBucket()
			return nil, &Refusal{"bucket " + bucket, "it does not say how many partitions there are, though stream " + c.Names.EventsStream(0) + " exists: it was lost",
				"count the EVENTS streams, N, and restore it with `nats kv put " + bucket + ` deployment '{"partitions":N}'` + "`; then apply the campaigns again"}
		}
		return e, err
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, err
	}
	d := deployment{Partitions: c.opt.Partitions}
	if d.Partitions == 0 {
		d.Partitions = DefaultPartitions
	}
	b, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	_, err = c.kv.Create(ctx, deploymentKey, b)
	if err = c.denied.making(err); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return nil, err
	}
	return c.kv.Get(ctx, deploymentKey)
}

// streams returns the deployment's streams as this process would make them.
func (c *Conn) streams() []jetstream.StreamConfig {
	offers := c.chainStream(c.Names.OffersStream(), maxOffers, c.Names.OffersSubjects()...)
	offers.AllowAtomicPublish = true
	all := []jetstream.StreamConfig{
		offers,
		c.chainStream(c.Names.DeadStream(), maxDead, c.Names.subject("dead.*")),
	}
	for p := range c.Partitions {
		all = append(all, jetstream.StreamConfig{
			Name:              c.Names.EventsStream(p),
			Subjects:          c.Names.EventsSubjects(p),
			Storage:           jetstream.FileStorage,
			Replicas:          c.opt.Replicas,
			MaxAge:            c.opt.Retention,
			MaxBytes:          -1,
			MaxMsgsPerSubject: -1,
			Discard:           jetstream.DiscardOld,
			Duplicates:        min(dedupe, c.opt.Retention),
		})
	}
	return all
}

// Retention is how long the logs keep events: the longest of all partitions.
func (c *Conn) Retention(ctx context.Context) (longest time.Duration, err error) {
	if !c.opt.Join { // the streams were compared with it
		return c.opt.Retention, nil
	}
	for p := range c.Partitions {
		st, err := c.JS.Stream(ctx, c.Names.EventsStream(p))
		if err != nil {
			return 0, c.failed("stream "+c.Names.EventsStream(p), err)
		}
		longest = max(longest, st.CachedInfo().Config.MaxAge)
	}
	return longest, nil
}

// chainStream returns a stream that never loses a chain's last record: its
// messages do not expire, it refuses new ones when it is full, and each chain
// keeps its newest records.
func (c *Conn) chainStream(name string, maxBytes int64, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              name,
		Subjects:          subjects,
		Storage:           jetstream.FileStorage,
		Replicas:          c.opt.Replicas,
		MaxBytes:          maxBytes,
		MaxMsgsPerSubject: keepPerSubject,
		Discard:           jetstream.DiscardNew,
		Duplicates:        dedupe,
	}
}

// stream checks a stream, and makes it if it does not exist.
func (c *Conn) stream(ctx context.Context, want jetstream.StreamConfig) error {
	st, err := c.JS.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		st, err = c.create(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			st, err = c.JS.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return err
	}
	have := st.CachedInfo().Config
	if want.AllowAtomicPublish {
		if !have.AllowAtomicPublish {
			c.allowBatches(ctx, &have)
		}
		c.setBatches(have)
	}
	return differs(have, want)
}

// allowBatches lets a stream of an earlier version take batches. Without them, records
// go one by one.
func (c *Conn) allowBatches(ctx context.Context, have *jetstream.StreamConfig) {
	want := *have
	want.AllowAtomicPublish = true
	st, err := c.JS.UpdateStream(ctx, want)
	if err = c.denied.making(err); err != nil {
		c.Log.Debug("the stream takes no batches, and cannot be changed now", "stream", have.Name, "error", err)
		return
	}
	*have = st.CachedInfo().Config
}

// codeNoStorage is the error code when the server cannot reserve a stream's
// bytes.
const codeNoStorage = 10047

// create makes the stream, with fewer bytes if the server does not have that
// many.
func (c *Conn) create(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	for {
		st, err := c.JS.CreateStream(ctx, want)
		var api *jetstream.APIError
		if !errors.As(err, &api) || int(api.ErrorCode) != codeNoStorage {
			return st, c.denied.making(err)
		}
		if want.MaxBytes /= 2; want.MaxBytes < leastReserved {
			return nil, &Refusal{"stream " + want.Name, err.Error(), "give JetStream more storage: free disk, or raise max_file_store"}
		}
	}
}

// group returns the stream of the leases' bucket, and makes the bucket if it does
// not exist. Leases in it expire, and watchers are told when they do.
func (c *Conn) group(ctx context.Context) (jetstream.Stream, error) {
	bucket := c.Names.GroupBucket()
	st, err := c.bucket(ctx, c.Names.groupStream(), func() error {
		_, err := c.JS.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucket, Storage: jetstream.FileStorage, Replicas: c.opt.Replicas,
			LimitMarkerTTL: endedFor, Description: "the workers that live, and what each owns"})
		return err
	})
	if err != nil {
		return nil, err
	}
	if have := st.CachedInfo().Config; !have.AllowMsgTTL || have.SubjectDeleteMarkerTTL == 0 {
		return nil, &Refusal{"bucket " + bucket, "its keys cannot expire", "delete it with `nats kv del " + bucket + "`, and it is made anew; if it is another program's, use another prefix"}
	}
	return st, nil
}

// snapshots returns the stream of the snapshots' object store, and makes the
// store if it does not exist.
func (c *Conn) snapshots(ctx context.Context) (jetstream.Stream, error) {
	return c.bucket(ctx, c.Names.snapshotsStream(), func() error {
		_, err := c.JS.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: c.Names.SnapshotsBucket(), Storage: jetstream.FileStorage, Replicas: c.opt.Replicas,
			Description: "the partitions' state at times, of each the last two and one a day"})
		return err
	})
}

// bucket returns a bucket's stream, and calls create if it does not exist, unless
// this connection joins.
func (c *Conn) bucket(ctx context.Context, stream string, create func() error) (jetstream.Stream, error) {
	st, err := c.JS.Stream(ctx, stream)
	if !errors.Is(err, jetstream.ErrStreamNotFound) || c.opt.Join {
		return st, err
	}
	if err := c.denied.making(create()); err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
		return nil, err
	}
	return c.JS.Stream(ctx, stream)
}

// differs returns a Refusal if a stream's settings are not the wanted ones. Where
// MaxBytes is wanted, any limit is accepted: operators may change it.
func differs(have, want jetstream.StreamConfig) error {
	if have.MaxBytes > 0 && want.MaxBytes > 0 {
		want.MaxBytes = have.MaxBytes
	}
	slices.Sort(have.Subjects)
	slices.Sort(want.Subjects)
	age := ""
	if want.MaxAge > 0 {
		age = fmt.Sprintf("start with --retention %s, or change the stream", have.MaxAge)
	}
	for _, f := range []struct {
		name       string
		have, want any
		do         string
	}{
		{"subjects", strings.Join(have.Subjects, " "), strings.Join(want.Subjects, " "), ""},
		{"retention", have.Retention, want.Retention, ""},
		{"storage", have.Storage, want.Storage, ""},
		{"num_replicas", have.Replicas, want.Replicas, fmt.Sprintf("start with --replicas %d, or change the stream", have.Replicas)},
		{"max_age", have.MaxAge, want.MaxAge, age},
		{"max_msgs", have.MaxMsgs, int64(-1), ""},
		{"max_bytes", have.MaxBytes, want.MaxBytes, ""},
		{"max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject, ""},
		{"max_msg_size", have.MaxMsgSize, int32(-1), ""},
		{"discard", have.Discard, want.Discard, ""},
		{"discard_new_per_subject", have.DiscardNewPerSubject, false, ""},
		{"duplicate_window", have.Duplicates, want.Duplicates, ""},
		{"allow_direct", have.AllowDirect, false, ""},
		{"no_ack", have.NoAck, false, ""},
		{"persist_mode", have.PersistMode, jetstream.DefaultPersistMode, ""}, // the other mode acknowledges before it has written
		{"sealed", have.Sealed, false, ""},
	} {
		if f.have == f.want {
			continue
		}
		if f.do == "" {
			f.do = "change it with `nats stream edit " + want.Name + "`, or use another prefix"
		}
		return &Refusal{"stream " + want.Name, fmt.Sprintf("%s is %v, this deployment needs %v", f.name, f.have, f.want), f.do}
	}
	return nil
}
