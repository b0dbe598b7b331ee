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

// A lease says that a worker lives: one key of the group's bucket, which
// expires unless it is renewed. Its value is a line that says how long the
// lease lasts, such as 3s, and what its holder says. A key without a value is
// a mark that the lease has ended.
//
// No correctness rests on leases (PROTOCOL.md, P2).

const (
	maxLease   = 64 << 10    // bytes of what a holder says
	maxMembers = 1000        // that a watch keeps
	markerFor  = time.Minute // for which the mark of a lease's end stays, for those who look late

	leaseGrace = time.Second     // after which a lease of whose end nothing is heard is looked for
	listWithin = 2 * time.Second // a message of what is there comes after the one before, or never
	lookAgain  = time.Second     // after a look that failed
)

var memberID = regexp.MustCompile(`^[a-z0-9]{1,32}$`)

// ErrLeaseLost says that a lease has expired, or that another put is after the
// last one that its holder knows of.
var ErrLeaseLost = errors.New("the lease is lost")

// PutLease takes a lease for ttl, in whole seconds and at least one: with rev 0
// anew, where there is none that lives; else it renews the one that the put
// with newRev rev left, with a new value. It waits while another put on the
// key is under way.
//
// With ErrLeaseLost newRev is what stands there, 0 for none that lives. Where
// nobody else uses the id that is a put of one's own whose answer was lost,
// and the next can follow it. A value has at most 64 KB.
//
// If the bucket has been deleted it is made anew, without the leases.
func (c *Conn) PutLease(ctx context.Context, id string, value []byte, ttl time.Duration, rev uint64) (newRev uint64, err error) {
	switch {
	case !memberID.MatchString(id):
		return 0, fmt.Errorf("lease %q: a member's id is 1 to 32 of a-z and 0-9", id)
	case ttl < time.Second:
		return 0, fmt.Errorf("lease %s for %s: it must last a second at least", id, ttl)
	case len(value) > maxLease:
		return 0, fmt.Errorf("lease %s: a value of %d bytes, %d are allowed", id, len(value), maxLease)
	}
	ttl = (ttl + time.Second - 1).Truncate(time.Second) // the server would cut it to whole ones
	h := nats.Header{jetstream.MsgTTLHeader: {ttl.String()}}
	if newRev, err = c.lease(ctx, id, h, append([]byte(ttl.String()+"\n"), value...), rev); err != nil {
		err = fmt.Errorf("put lease %s: %w", id, err)
	}
	return newRev, err
}

// DropLease ends a lease at once. One that has ended already is no error.
func (c *Conn) DropLease(ctx context.Context, id string, rev uint64) error {
	if !memberID.MatchString(id) || rev == 0 {
		return nil // there can be none
	}
	h := nats.Header{"KV-Operation": {"PURGE"}, jetstream.MsgTTLHeader: {markerFor.String()}}
	if at, err := c.lease(ctx, id, h, nil, rev); err != nil && !(errors.Is(err, ErrLeaseLost) && at == 0) {
		return fmt.Errorf("drop lease %s: %w", id, err)
	}
	return nil
}

// lease puts a message under a member's key after the one with revision rev,
// or with 0 where no lease lives.
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
		lives := len(last.Data) > 0
		switch {
		case last.Seq == expect: // another put is under way on R3
			if err := task.Sleep(ctx, c.World, 3*time.Millisecond+c.World.Jitter(3*time.Millisecond)); err != nil {
				return 0, err
			}
		case rev == 0 && !lives:
			expect = last.Seq
		case lives:
			return last.Seq, ErrLeaseLost
		default:
			return 0, ErrLeaseLost
		}
	}
}

// regroup makes the group's bucket anew if it is not there.
func (c *Conn) regroup(ctx context.Context) error {
	bucket := c.Names.GroupBucket()
	_, err := c.JS.Stream(ctx, c.Names.groupStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		c.Log.Warn("the bucket of the workers' leases is gone, somebody must have deleted it: making it anew", "bucket", bucket)
		_, err = c.group(ctx)
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bucket, err)
	}
	return nil
}

// WatchLeases calls fn with the values of all leases that live, by id: when
// they are known, and again when they have changed, until ctx is done or the
// connection is closed. The map is fn's to keep. A lease that expires leaves
// within a second. Where the bucket is not there, or not any more, there are
// no leases but those known whose time is not over.
func (c *Conn) WatchLeases(ctx context.Context, fn func(leases map[string][]byte)) error {
	w := &leaseWatch{conn: c, fn: fn, known: map[string]lease{}, come: c.World.NewEvent()}
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

// splitLease reads what lies under a member's key: a lease, or the mark of its
// end.
func splitLease(data []byte) (ttl time.Duration, value []byte, lives bool) {
	line, value, _ := bytes.Cut(data, []byte("\n"))
	ttl, err := time.ParseDuration(string(line))
	return ttl, value, err == nil
}

// A Lease is one that lives.
type Lease struct {
	Value []byte
	Time  time.Time // when it was put, by the server's clock
}

// Leases are those that live now, by id: for tools, which look once. Where
// the bucket is not there, there are none.
func (c *Conn) Leases(ctx context.Context) (map[string]Lease, error) {
	all := map[string]Lease{}
	subjects, err := c.Wire.Subjects(ctx, c.Names.groupStream(), c.Names.leaseSubject("*"))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return all, nil
	}
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
			continue // it ended meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("lease %s: %w", id, err)
		}
		if _, value, lives := splitLease(m.Data); lives {
			all[id] = Lease{value, time.Unix(0, m.Time)}
		}
	}
	return all, nil
}

type lease struct {
	value []byte
	until time.Time // it must have ended, by this process' clock
}

type leaseWatch struct {
	conn  *Conn
	fn    func(map[string][]byte)
	come  task.Event
	known map[string]lease
	told  map[string][]byte // nil before the first time
}

// look reads what is there and what comes, until it is to be looked at anew:
// then the error is nil.
func (w *leaseWatch) look(ctx context.Context) error {
	c := w.conn
	within, cancel := context.WithTimeout(ctx, publishFor)
	src, err := c.Wire.Read(within, c.Names.groupStream(), 1) // each key's last message alone is kept
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
		case listed && w.rest() == 0: // its end may have been missed
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
	ttl, value, lives := splitLease(m.Data)
	if !lives {
		delete(w.known, id)
		return
	}
	if _, known := w.known[id]; !known && len(w.known) >= maxMembers {
		return
	}
	w.known[id] = lease{value, w.conn.World.Now().Add(ttl + leaseGrace)}
}

// rest is how long until a lease is to be looked for, if nothing is heard.
func (w *leaseWatch) rest() time.Duration {
	rest, now := time.Duration(task.Forever), w.conn.World.Now()
	for _, l := range w.known {
		rest = min(rest, max(l.until.Sub(now), 0))
	}
	return rest
}

// forget drops the leases whose time is over; what is there has been looked at.
func (w *leaseWatch) forget() {
	now := w.conn.World.Now()
	maps.DeleteFunc(w.known, func(_ string, l lease) bool { return !now.Before(l.until) })
}

// tell calls fn if something has changed.
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
