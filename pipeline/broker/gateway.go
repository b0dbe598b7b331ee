package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/task"
	"offerstream/pipeline/value"
)

// headerTime is the header with the time at which the gateway packed dead letters.
const headerTime = "Offerstream-Time"

// A GatewayLog stores a gateway's events; it is an ingest.Log.
//
// Its errors are of two kinds. A Loud error means that the log is not the one
// that acknowledged earlier events. After any other error (no connection, no
// answer, no stream) the same pack can be published again under the same id.
type GatewayLog struct {
	conn *Conn
	seqs []atomic.Uint64 // the highest acknowledged sequence of each partition, then that of the dead letters
	live atomic.Pointer[liveSet]

	failing failures // publishes of events
	mu      sync.Mutex
	wrong   map[int]error // partitions whose stream is not the one that was written to
	room    letterRoom
}

// liveSet is what gateways go by of the live set.
type liveSet struct {
	clock  string
	forget time.Duration // forget.anonymous
}

// OpenGatewayLog returns when it knows the live set. It keeps what it says of that, and
// whether NATS stores events, up to date until ctx is done or the connection is
// closed.
func (c *Conn) OpenGatewayLog(ctx context.Context) (*GatewayLog, error) {
	g := &GatewayLog{conn: c, seqs: make([]atomic.Uint64, c.Partitions+1), wrong: map[int]error{}}
	known, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- c.WatchLive(ctx, func(live Live) {
			first := g.live.Load() == nil
			if g.follow(ctx, live.Set) && first {
				close(known)
			}
		})
	}()
	select {
	case <-known:
		go g.watch(ctx)
		return g, nil
	case err := <-ended:
		return nil, fmt.Errorf("open the gateway's log: %w", err)
	}
}

// follow makes the set with hash the log's live one. It retries until a set can be read,
// each time the one that is live then. It returns false if ctx or the connection has
// ended before.
func (g *GatewayLog) follow(ctx context.Context, hash string) bool {
	c := g.conn
	for {
		live, err := c.liveSet(ctx, hash)
		if err == nil {
			if old := g.live.Swap(&live); old == nil || *old != live {
				c.Log.Info("the live campaign set", "clock", live.clock, "forget_anonymous", live.forget, "set", hash)
			}
			return true
		}
		c.Log.Warn("cannot read the live campaign set: trying again", "error", err)
		if task.Sleep(ctx, c.World, time.Second) != nil || c.NC.IsClosed() {
			return false
		}
		if now, _, err := c.Live(ctx); err == nil {
			hash = now.Set
		}
	}
}

// liveSet reads a set; of none it has the defaults.
func (c *Conn) liveSet(ctx context.Context, hash string) (liveSet, error) {
	if hash == "" {
		return liveSet{campaign.ClockBroker, campaign.DefaultForgetAnonymous}, nil
	}
	def, err := c.Set(ctx, hash)
	if err != nil {
		return liveSet{}, err
	}
	return liveSet{def.Clock, cmp.Or(def.Forget.Anonymous, campaign.DefaultForgetAnonymous)}, nil
}

// Partitions is the number of partitions.
func (g *GatewayLog) Partitions() int { return g.conn.Partitions }

// Clock is the live set's clock, and ClockBroker if no set is live.
func (g *GatewayLog) Clock() string { return g.live.Load().clock }

// ForgetAnonymous is the live set's forget.anonymous, and its default if no set is live.
func (g *GatewayLog) ForgetAnonymous() time.Duration { return g.live.Load().forget }

// Ready returns why nothing can be published now, without asking the server.
func (g *GatewayLog) Ready() error {
	if s := g.conn.NC.Status(); s != nats.CONNECTED {
		return fmt.Errorf("the connection to NATS is %s", s)
	}
	return nil
}

// Publish appends a pack to the partition's log and returns when it is
// acknowledged. Packs with the same id are stored once.
func (g *GatewayLog) Publish(ctx context.Context, partition int, id string, pack []byte) error {
	m := &nats.Msg{Subject: g.conn.Names.EventsSubject(partition, "in"), Data: pack}
	err := g.publish(ctx, &g.seqs[partition], m, id)
	g.note(m, err)
	return err
}

// DeadLetters stores refused events in one message, in the same way. It returns
// ErrNoRoom, and stores nothing, while DEADLETTERS is half full.
func (g *GatewayLog) DeadLetters(ctx context.Context, id string, letters []pipeline.Dead) error {
	m := &nats.Msg{Subject: g.conn.Names.DeadGateway(), Header: nats.Header{}}
	if err := packLetters(m, letters); err != nil {
		return err
	}
	if err := g.room.take(ctx, g.conn, len(m.Data)); err != nil {
		return err
	}
	m.Header[headerTime] = []string{value.FormatTime(time.Now().UnixNano())}
	return g.publish(ctx, &g.seqs[g.conn.Partitions], m, id)
}

// ErrNoRoom means that DEADLETTERS has no room for letters of gateways and of offers
// that could not be delivered.
var ErrNoRoom = errors.New("no room for dead letters of gateways and senders")

// letterRoom is what a gateway may still store in DEADLETTERS. The stream refuses
// every message when it is full, and a partition does not go on before its own
// dead letter is stored: anybody with a write key could stop the workers. So
// gateways use half of it.
type letterRoom struct {
	mu    sync.Mutex
	left  int64 // bytes that may be stored before the stream is asked again
	full  bool  // it said that there is no room
	asked time.Time
}

const (
	roomKnown = 2 * time.Second // how long an answer of the stream counts
	roomSteps = 16              // the part of the half that is used before the stream is asked again: there may be other gateways
)

func (r *letterRoom) take(ctx context.Context, c *Conn, n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked.IsZero() || time.Since(r.asked) > roomKnown || r.left < int64(n) && !r.full {
		st, err := c.JS.Stream(ctx, c.Names.DeadStream())
		if err != nil {
			return fmt.Errorf("room in %s: %w", c.Names.DeadStream(), err)
		}
		info := st.CachedInfo()
		half := info.Config.MaxBytes / 2
		left := half - int64(info.State.Bytes)
		r.asked, r.full = time.Now(), left < int64(n)
		r.left = min(left, max(half/roomSteps, int64(n)))
	}
	if r.left < int64(n) {
		return fmt.Errorf("%w: half of stream %s is used, and the rest is for the workers: read them with `offerctl deadletters list`, then purge the gateways' with `nats stream purge %s --subject %s`, or those of offers with `--subject %s`, or raise the stream's max_bytes",
			ErrNoRoom, c.Names.DeadStream(), c.Names.DeadStream(), c.Names.DeadGateway(), c.Names.DeadDeliver())
	}
	r.left -= int64(n)
	return nil
}

// publish compares the acknowledged sequence with those that were acknowledged
// before it was sent: a log only grows. A duplicate's sequence is that of its
// first copy.
func (g *GatewayLog) publish(ctx context.Context, highest *atomic.Uint64, m *nats.Msg, id string) error {
	before := highest.Load()
	ack, err := g.send(ctx, m, id)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("publish to %s: no stream accepts it now: %w", m.Subject, jetstream.ErrNoStreamResponse)
	case err != nil:
		return fmt.Errorf("publish to %s: %w", m.Subject, err)
	case ack.Sequence <= before && !ack.Duplicate:
		return Loud(fmt.Errorf("publish to %s: message %d was acknowledged after message %d: the broker has lost messages that it had acknowledged: find out what is lost before this gateway takes more",
			m.Subject, ack.Sequence, before))
	}
	for {
		old := highest.Load()
		if ack.Sequence <= old || highest.CompareAndSwap(old, ack.Sequence) {
			return nil
		}
	}
}

// send publishes a message once, and reads the acknowledgement. It is what JetStream's
// PublishMsg does, which would decode JSON.
func (g *GatewayLog) send(ctx context.Context, m *nats.Msg, id string) (ack jetstream.PubAck, err error) {
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	m.Header[jetstream.MsgIDHeader] = []string{id}
	answer, err := g.conn.NC.RequestMsgWithContext(ctx, m)
	if err != nil {
		return ack, err
	}
	if seq, ok := plainAck(answer.Data); ok {
		ack.Sequence = seq
		return ack, nil
	}
	var told struct {
		jetstream.PubAck
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(answer.Data, &told); {
	case err != nil:
		return ack, fmt.Errorf("decode the answer %q: %w", answer.Data, err)
	case told.Error != nil:
		return ack, told.Error
	case told.Sequence == 0:
		return ack, fmt.Errorf("decode the answer %q: it has no sequence", answer.Data)
	}
	return told.PubAck, nil
}
