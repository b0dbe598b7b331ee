package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/task"
)

// A lease shows that a worker is alive. It is a key of the group's bucket, which
// expires unless the lease is renewed. Its value is a line with the lease's
// duration, such as 3s, and then the worker's Claim. A key without a value shows
// that the lease has ended.
//
// No correctness rests on leases (PROTOCOL.md, P2).

const (
	maxLease   = 64 << 10    // bytes of a lease's value
	maxMembers = 1000        // leases that a watch keeps
	endedFor   = time.Minute // how long the key of an ended lease stays, for watchers that look late

	leaseGrace = time.Second     // how long after a lease must have ended the watch looks it up, if it has heard nothing
	listWithin = 2 * time.Second // how long the watch waits for the next of the existing leases before it starts anew
	lookAgain  = time.Second     // how long it waits after a failure
)

var memberID = regexp.MustCompile(`^[a-z0-9]{1,32}$`)

// ErrLeaseLost means that a lease has expired, or that a newer put exists than
// the last one that the holder knows.
var ErrLeaseLost = errors.New("the lease is lost")

// PutLease takes or renews a lease for ttl, which is rounded up to whole seconds
// and at least one. With rev 0 it takes a new lease, provided that none is
// alive. Otherwise rev must be the newRev of the last put, and PutLease renews
// the lease with a new value. It waits while another put on the key is under
// way.
//
// With ErrLeaseLost, newRev is the revision of the lease that is alive, 0 if
// none is. If nobody else uses the id, that revision is the holder's own put
// whose answer was lost, and the next put can build on it. A value has at most
// 64 KB.
//
// If the bucket has been deleted, PutLease makes it anew, without leases.
func (c *Conn) PutLease(ctx context.Context, id string, value []byte, ttl time.Duration, rev uint64) (newRev uint64, err error) {
	switch {
	case !memberID.MatchString(id):
		return 0, fmt.Errorf("lease %q: a member's id must have 1 to 32 characters, a-z and 0-9", id)
	case ttl < time.Second:
		return 0, fmt.Errorf("lease %s for %s: it must last at least a second", id, ttl)
	case len(value) > maxLease:
		return 0, fmt.Errorf("lease %s: its value has %d bytes, at most %d are allowed", id, len(value), maxLease)
	}
	ttl = (ttl + time.Second - 1).Truncate(time.Second) // the server would round it down to whole seconds
	h := nats.Header{jetstream.MsgTTLHeader: {ttl.String()}}
	if newRev, err = c.lease(ctx, id, h, append([]byte(ttl.String()+"\n"), value...), rev); err != nil {
		err = fmt.Errorf("put lease %s: %w", id, err)
	}
	return newRev, err
}

// DropLease ends a lease at once. It is no error if the lease has already ended.
func (c *Conn) DropLease(ctx context.Context, id string, rev uint64) error {
	if !memberID.MatchString(id) || rev == 0 {
		return nil // there can be no such lease
	}
	h := nats.Header{"KV-Operation": {"PURGE"}, jetstream.MsgTTLHeader: {endedFor.String()}}
	if at, err := c.lease(ctx, id, h, nil, rev); err != nil && !(errors.Is(err, ErrLeaseLost) && at == 0) {
		return fmt.Errorf("drop lease %s: %w", id, err)
	}
	return nil
}

// lease puts a message under a member's key, provided that the last one there
// has revision rev, or, if rev is 0, that no lease is alive.
func (c *Conn) lease(ctx context.Context, id string, h nats.Header, data []byte, rev uint64) (uint64, error) {
	subject := c.Names.leaseSubject(id)
	pub, err := c.Wire.Publisher(subject)
	if err != nil {
		return 0, err
	}
	defer pub.Close()
	expect, made := rev, false
	for {
		at, err := pub.Publish(ctx, h, data, expect)
		var api *jetstream.APIError
		switch {
		case err == nil:
			return at, nil
		case errors.Is(err, jetstream.ErrNoStreamResponse) && !made && !c.opt.Join:
			if made, err = true, c.regroup(ctx); err != nil {
				return 0, err
			}
			continue
		case !errors.As(err, &api) || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence && int(api.ErrorCode) != codeOneInFlight:
			return 0, err
		}
		last, err := c.Wire.Last(ctx, c.Names.groupStream(), subject)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, err
		}
		alive := len(last.Data) > 0
		switch {
		case last.Seq == expect: // with several replicas, another put is under way
			if err := task.Sleep(ctx, c.World, 3*time.Millisecond+c.World.Jitter(3*time.Millisecond)); err != nil {
				return 0, err
			}
		case rev == 0 && !alive:
			expect = last.Seq
		case alive:
			return last.Seq, ErrLeaseLost
		default:
			return 0, ErrLeaseLost
		}
	}
}

// regroup makes the group's bucket anew if it has been deleted.
func (c *Conn) regroup(ctx context.Context) error {
	bucket := c.Names.GroupBucket()
	_, err := c.JS.Stream(ctx, c.Names.groupStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		c.Log.Warn("the bucket of the workers' leases is gone, it must have been deleted: making it anew", "bucket", bucket)
		_, err = c.group(ctx)
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bucket, err)
	}
	return nil
}

// WatchLeases calls fn with the values of all leases that are alive, by id: once
// when they are known, and again when they have changed, until ctx is done or
// the connection is closed. fn may keep the map. An expired lease leaves the map
// within a second. If the bucket does not exist, or has been deleted, the map
// has only the known leases that have not expired.
func (c *Conn) WatchLeases(ctx context.Context, fn func(leases map[string][]byte)) error {
	w := &leaseWatch{conn: c, fn: fn, known: map[string]lease{}, come: c.World.NewSignal()}
	defer c.Wire.OnClose(w.come)()
	for {
		err := w.look(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case c.Wire.IsClosed():
			return fmt.Errorf("watch the group's leases: %w", ErrClosed)
		case err == nil:
			continue
		case errors.Is(err, jetstream.ErrStreamNotFound):
			w.forget()
			w.tell()
			w.come.Wait(ctx, min(lookAgain, w.rest()))
		default:
			c.Log.Warn("the watch on the group's leases has ended: watching again", "error", err)
			w.come.Wait(ctx, lookAgain)
		}
	}
}

// splitLease reads the message under a member's key. alive is false if the lease
// has ended.
func splitLease(data []byte) (ttl time.Duration, value []byte, alive bool) {
	line, value, _ := bytes.Cut(data, []byte("\n"))
	ttl, err := time.ParseDuration(string(line))
	return ttl, value, err == nil
}

// A Lease is a lease that is alive.
type Lease struct {
	Value  []byte
	Time   time.Time // when it was put, by the server's clock
	Silent bool      // it has not been renewed for longer than it lasts, and has not expired either
}

// Leases returns the leases that are alive now, by id; none if the bucket does
// not exist. It is for tools, which look once.
func (c *Conn) Leases(ctx context.Context) (map[string]Lease, error) {
	all := map[string]Lease{}
	subjects, err := c.Wire.Subjects(ctx, c.Names.groupStream(), c.Names.leaseSubject("*"))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the group's leases: %w", err)
	}
	now, err := c.Wire.Clock(ctx, c.Names.groupStream()) // before the leases are read: one that is renewed meanwhile is not silent
	if err != nil {
		return nil, fmt.Errorf("list the group's leases: %w", err)
	}
	for _, subject := range subjects {
		id := strings.TrimPrefix(subject, c.Names.leaseSubject(""))
		if !memberID.MatchString(id) || len(all) >= maxMembers {
			continue
		}
		m, err := c.Wire.Last(ctx, c.Names.groupStream(), subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // it has just ended
		}
		if err != nil {
			return nil, fmt.Errorf("lease %s: %w", id, err)
		}
		if ttl, value, alive := splitLease(m.Data); alive {
			all[id] = Lease{value, time.Unix(0, m.Time), time.Duration(now-m.Time) > ttl}
		}
	}
	return all, nil
}

type lease struct {
	value []byte
	until time.Time // when it must have ended, by this process' clock
}

type leaseWatch struct {
	conn  *Conn
	fn    func(map[string][]byte)
	come  task.Signal
	known map[string]lease
	told  map[string][]byte // what fn was last called with; nil before the first call
}

// look reads the existing leases and then their changes. It returns nil when
// the watch has to start anew.
func (w *leaseWatch) look(ctx context.Context) error {
	c := w.conn
	within, cancel := context.WithTimeout(ctx, publishFor)
	src, err := c.Wire.Read(within, c.Names.groupStream(), 1) // the bucket keeps only the last message of each key
	cancel()
	if err != nil {
		return err
	}
	defer src.Close()
	listed, last := false, c.World.Now()
	for ctx.Err() == nil && !c.Wire.IsClosed() {
		m, ok, err := src.Next()
		if err != nil {
			return err
		}
		now := c.World.Now()
		if ok {
			w.take(m)
			last = now
			continue
		}
		if !listed && src.Pending() == 0 {
			listed = true
			w.forget()
		}
		switch {
		case listed && w.rest() == 0: // a lease must have ended: the message of its end may have been missed
			return nil
		case !listed && now.Sub(last) > listWithin, now.Sub(src.Heard()) > readSilence:
			return nil
		}
		wait := lookAgain
		if listed {
			w.tell()
			wait = min(wait, w.rest())
		}
		src.Wait(ctx, w.come, wait)
	}
	return nil
}

func (w *leaseWatch) take(m Stored) {
	id, ok := strings.CutPrefix(m.Subject, w.conn.Names.leaseSubject(""))
	if !ok || !memberID.MatchString(id) {
		return
	}
	ttl, value, alive := splitLease(m.Data)
	if !alive {
		delete(w.known, id)
		return
	}
	if _, known := w.known[id]; !known && len(w.known) >= maxMembers {
		return
	}
	w.known[id] = lease{value, w.conn.World.Now().Add(ttl + leaseGrace)}
}

// rest returns the time until the first known lease must have ended.
func (w *leaseWatch) rest() time.Duration {
	rest, now := time.Duration(task.Forever), w.conn.World.Now()
	for _, l := range w.known {
		rest = min(rest, max(l.until.Sub(now), 0))
	}
	return rest
}

// forget drops the leases that must have ended. It is called when all existing
// leases have been read.
func (w *leaseWatch) forget() {
	now := w.conn.World.Now()
	maps.DeleteFunc(w.known, func(_ string, l lease) bool { return !now.Before(l.until) })
}

// tell calls fn if the leases have changed.
func (w *leaseWatch) tell() {
	leases := map[string][]byte{}
	for id, l := range w.known {
		leases[id] = l.value
	}
	if w.told != nil && maps.EqualFunc(leases, w.told, bytes.Equal) {
		return
	}
	w.told = maps.Clone(leases)
	w.fn(leases)
}
