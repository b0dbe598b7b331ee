package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/task"
)

// A simBroker is a simulated NATS server: its streams and buckets, which survive
// restarts, and the connections to it.
type simBroker struct {
	*simulation
	streams map[string]*simStream
	watches []*simWatch
	wires   []*simWire
	given   map[string]uint64 // by subject of a chain: the highest number that was ever stored, whatever was lost since
	skew    time.Duration     // how far its clock is ahead
	frozen  time.Duration     // until then it gives stale answers
	down    time.Duration     // until then it accepts no connections
	stalled error             // a reader has waited for what it had not requested

	faults simFaults
}

// simFaults say in how many of a thousand calls each fault occurs.
type simFaults struct {
	lost     int // the request never arrives
	late     int // the request arrives after the caller has given up
	ackLost  int // the answer never arrives
	refused  int // the request is refused without a reason
	stale    int // a server that lags behind answers with an old value of a bucket
	gap      int // a message is skipped
	silence  int // a consumer stops delivering
	cut      int // the connection ends
	slowness time.Duration
}

type simStream struct {
	messages []broker.Stored // by sequence, from 1
	last     map[string]uint64
	first    uint64 // earlier messages have expired, but stay here for the oracle
	latest   bool   // only each subject's last message is kept: the data of others is gone
}

func newSimBroker(s *simulation) *simBroker {
	return &simBroker{simulation: s, given: map[string]uint64{}, streams: map[string]*simStream{}}
}

func (b *simBroker) stream(name string) *simStream {
	st := b.streams[name]
	if st == nil {
		st = &simStream{last: map[string]uint64{}}
		b.streams[name] = st
	}
	return st
}

// streamOf returns the stream that stores a subject.
func (b *simBroker) streamOf(subject string) *simStream {
	parts := strings.Split(subject, ".")
	switch parts[0] {
	case "events":
		return b.stream("EVENTS-" + parts[1])
	case "dead":
		return b.stream("DEADLETTERS")
	case "$KV":
		st := b.stream("KV_" + parts[1])
		st.latest = true
		return st
	}
	return b.stream("OFFERS")
}

var errWrongLast = &jetstream.APIError{Code: 400, ErrorCode: jetstream.JSErrCodeStreamWrongLastSequence, Description: "wrong last sequence"}

// store stores a message in its stream, provided that the last one on its subject
// is expect (nil: any).
func (b *simBroker) store(subject string, h nats.Header, data []byte, expect *uint64) (uint64, error) {
	st := b.streamOf(subject)
	if expect != nil && st.lastOf(subject) != *expect {
		return 0, errWrongLast
	}
	own := nats.Header{}
	for k, v := range h {
		own[k] = slices.Clone(v)
	}
	seq := uint64(len(st.messages) + 1)
	st.messages = append(st.messages, broker.Stored{Seq: seq, Time: b.now().Add(b.skew).UnixNano(), Subject: subject, Header: own, Data: slices.Clone(data)})
	st.last[subject] = seq
	if pos, err := broker.ParsePosition(own); err == nil {
		b.given[subject] = max(b.given[subject], pos.N)
	}
	b.tell(st)
	if bucketKey, ok := strings.CutPrefix(subject, "$KV."); ok {
		b.told(bucketKey)
	}
	if ttl, err := time.ParseDuration(h.Get(jetstream.MsgTTLHeader)); err == nil {
		b.start(&process{name: "broker"}, func() { b.expire(st, subject, seq, ttl) })
	}
	return seq, nil
}

// expire replaces a message, when its time is over, by a message that says so,
// which expires as well.
func (b *simBroker) expire(st *simStream, subject string, seq uint64, ttl time.Duration) {
	for until := b.time + ttl; b.time < until; {
		b.simulation.rest(context.Background(), nil, until-b.time)
	}
	switch {
	case st.last[subject] != seq:
	case len(st.messages[seq-1].Data) == 0:
		delete(st.last, subject)
	default:
		b.store(subject, nats.Header{"Nats-Marker-Reason": {"MaxAge"}, jetstream.MsgTTLHeader: {"1m0s"}}, nil, nil)
	}
}

// lastOf is the last message on a subject, 0 if there is none, or none any more.
func (st *simStream) lastOf(subject string) uint64 {
	if last := st.last[subject]; !st.aged(subject, last) {
		return last
	}
	return 0
}

// aged reports whether a message cannot be read by its subject any more. Only mails
// expire so: nobody is away for so long that an acceptance, or what is in force, has.
func (st *simStream) aged(subject string, seq uint64) bool {
	return seq < st.first && strings.Contains(subject, ".from.")
}

// gone reports whether a message is no longer in the stream.
func (st *simStream) gone(m broker.Stored) bool { return st.latest && st.last[m.Subject] != m.Seq }

// tell wakes all readers of the stream.
func (b *simBroker) tell(st *simStream) {
	for _, w := range b.wires {
		for _, src := range w.sources {
			if src.stream == st {
				src.wake()
			}
		}
	}
}

// cutBack removes a stream's last n messages.
func (b *simBroker) cutBack(name string, n int) {
	st := b.stream(name)
	st.holds(st.messages[:max(0, len(st.messages)-n)], st.first)
}

// holds makes the stream hold other messages than before.
func (st *simStream) holds(messages []broker.Stored, first uint64) {
	st.messages = slices.Clone(messages)
	st.last = map[string]uint64{}
	for _, m := range st.messages {
		st.last[m.Subject] = m.Seq
	}
	st.first = min(first, uint64(len(st.messages)+1))
}

// restart ends all connections. The broker is down for a while.
func (b *simBroker) restart(after time.Duration) {
	b.down = b.time + after
	for _, w := range slices.Clone(b.wires) {
		w.end()
	}
}

// put stores a value under a bucket's key.
func (b *simBroker) put(bucket, key string, value []byte) {
	b.store("$KV."+bucket+"."+key, nil, value, nil)
}

// values are the values that a bucket's key has had, the last one last.
func (b *simBroker) values(bucket, key string) (all []broker.Stored) {
	for _, m := range b.stream("KV_" + bucket).messages {
		if m.Subject == "$KV."+bucket+"."+key {
			all = append(all, m)
		}
	}
	return all
}

// told wakes all watches of a key, which is named with its bucket.
func (b *simBroker) told(bucketKey string) {
	for _, w := range b.watches {
		if w.bucket+"."+w.key == bucketKey {
			w.come.Set()
		}
	}
}

// A simWire is a connection of a process to the simulated broker.
type simWire struct {
	b       *simBroker
	of      *process
	closed  bool
	sources []*simSource
	onClose []task.Signal
}

var _ broker.Wire = (*simWire)(nil)

func (b *simBroker) connect(of *process) *simWire {
	w := &simWire{b: b, of: of}
	b.wires = append(b.wires, w)
	return w
}

func (w *simWire) end() {
	if w.closed {
		return
	}
	w.closed = true
	w.b.wires = slices.DeleteFunc(w.b.wires, func(o *simWire) bool { return o == w })
	for _, e := range w.onClose {
		e.Set()
	}
}

const simTimeout = 5 * time.Second

func (w *simWire) rest() {
	w.b.simulation.rest(context.Background(), nil, w.b.upTo(w.b.faults.slowness+time.Millisecond))
}

// call executes a request at the server, with all faults that may occur.
func (w *simWire) call(ctx context.Context, do func() error) error {
	b := w.b
	if b.chance(b.faults.cut) {
		w.end()
	}
	w.rest()
	switch {
	case w.closed:
		return broker.ErrClosed
	case b.chance(b.faults.late):
		after := b.upTo(3 * simTimeout)
		b.start(&process{name: "network"}, func() {
			b.simulation.rest(context.Background(), nil, after)
			do()
		})
		return w.giveUp(ctx)
	case b.chance(b.faults.lost):
		return w.giveUp(ctx)
	case b.chance(b.faults.refused):
		return &jetstream.APIError{Code: 503, ErrorCode: 10176, Description: "try again"}
	}
	err := do()
	w.rest()
	if w.closed {
		return broker.ErrClosed
	}
	if b.chance(b.faults.ackLost) {
		return w.giveUp(ctx)
	}
	return err
}

func (w *simWire) giveUp(ctx context.Context) error {
	w.b.simulation.rest(ctx, nil, simTimeout)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if w.closed {
		return broker.ErrClosed
	}
	return errors.New("no answer")
}

func (w *simWire) Extent(ctx context.Context, stream string) (first, last uint64, err error) {
	err = w.call(ctx, func() error {
		first, last = max(1, w.b.stream(stream).first), uint64(len(w.b.known(stream)))
		return nil
	})
	return first, last, err
}

// known returns the messages of a stream that the server reports, which may be
// stale.
func (b *simBroker) known(stream string) []broker.Stored {
	all := b.stream(stream).messages
	if b.frozen > b.time && len(all) > 0 {
		return all[:len(all)-1]
	}
	return all
}

func (w *simWire) Subjects(ctx context.Context, stream, filter string) (subjects []string, err error) {
	before, after, any := strings.Cut(filter, "*")
	matches := func(s string) bool { return s == filter }
	if any {
		matches = func(s string) bool { return strings.HasPrefix(s, before) && strings.HasSuffix(s, after) }
	}
	err = w.call(ctx, func() error {
		subjects = nil
		for s := range maps.Keys(w.b.stream(stream).last) {
			if matches(s) {
				subjects = append(subjects, s)
			}
		}
		slices.Sort(subjects)
		return nil
	})
	return subjects, err
}

func (w *simWire) Last(ctx context.Context, stream, subject string) (m broker.Stored, err error) {
	err = w.call(ctx, func() error {
		all := w.b.known(stream)
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].Subject == subject && !w.b.stream(stream).gone(all[i]) && !w.b.stream(stream).aged(subject, all[i].Seq) {
				m = all[i]
				return nil
			}
		}
		return jetstream.ErrMsgNotFound
	})
	return m, err
}

func (w *simWire) Send(subject string, data []byte) error {
	if w.of.dead || w.closed {
		return broker.ErrClosed
	}
	if !w.b.chance(w.b.faults.lost) {
		w.b.store(subject, nil, data, nil)
	}
	return nil
}

// Listen does nothing: nobody asks in the simulation.
func (w *simWire) Listen(string, func(broker.Question)) (stop func(), err error) {
	return func() {}, nil
}

func (w *simWire) Clock(ctx context.Context, stream string) (ns int64, err error) {
	err = w.call(ctx, func() error {
		ns = w.b.now().Add(w.b.skew).UnixNano()
		return nil
	})
	return ns, err
}

func (w *simWire) Get(ctx context.Context, bucket, key string) (value []byte, rev uint64, err error) {
	err = w.call(ctx, func() error {
		all := w.b.values(bucket, key)
		if n := len(all); n > 0 && w.b.chance(w.b.faults.stale) {
			all = all[:w.b.rng.IntN(n)]
		}
		if len(all) == 0 {
			return jetstream.ErrKeyNotFound
		}
		value, rev = all[len(all)-1].Data, all[len(all)-1].Seq
		return nil
	})
	return value, rev, err
}

type simWatch struct {
	bucket, key string
	come        task.Signal
}

// watch registers a watch until stop is called.
func (w *simWire) watch(watch *simWatch) (stop func()) {
	w.b.watches = append(w.b.watches, watch)
	unhear := w.OnClose(watch.come)
	return func() {
		unhear()
		w.b.watches = slices.DeleteFunc(w.b.watches, func(o *simWatch) bool { return o == watch })
	}
}

func (w *simWire) Watch(ctx context.Context, bucket, key string, fn func(value []byte)) error {
	watch := &simWatch{bucket, key, &simSignal{s: w.b.simulation}}
	defer w.watch(watch)()
	seen, none := uint64(0), true
	for {
		w.rest()
		all := w.b.values(bucket, key)
		switch {
		case w.closed:
			return broker.ErrClosed
		case ctx.Err() != nil:
			return ctx.Err()
		case len(all) > 0 && all[len(all)-1].Seq != seen:
			seen, none = all[len(all)-1].Seq, false
			fn(all[len(all)-1].Data)
		case none:
			none = false
			fn(nil)
		}
		watch.come.Wait(ctx, task.Forever)
	}
}

func (w *simWire) IsClosed() bool { return w.closed }

func (w *simWire) OnClose(e task.Signal) (stop func()) {
	if w.closed {
		e.Set()
	}
	w.onClose = append(w.onClose, e)
	return func() { w.onClose = slices.DeleteFunc(w.onClose, func(o task.Signal) bool { return o == e }) }
}

type simPublisher struct {
	w       *simWire
	subject string
}

func (w *simWire) Publisher(subject string) (broker.Publisher, error) {
	return simPublisher{w, subject}, nil
}

func (p simPublisher) Publish(ctx context.Context, h nats.Header, data []byte, expect uint64) (seq uint64, err error) {
	own := nats.Header{} // the caller reuses its memory
	for k, v := range h {
		own[k] = slices.Clone(v)
	}
	data = slices.Clone(data)
	err = p.w.call(ctx, func() error {
		var err error
		seq, err = p.w.b.store(p.subject, own, data, &expect)
		return err
	})
	return seq, err
}

func (p simPublisher) Batch(ctx context.Context, n int, message func(i int) (nats.Header, []byte, error), expect uint64) (seq uint64, err error) {
	type one struct {
		h    nats.Header
		data []byte
	}
	var all []one
	for i := range n {
		h, data, err := message(i)
		if err != nil {
			return 0, err
		}
		own := nats.Header{}
		for k, v := range h {
			own[k] = slices.Clone(v)
		}
		all = append(all, one{own, slices.Clone(data)})
	}
	err = p.w.call(ctx, func() error {
		for i, m := range all {
			first := &expect
			if i > 0 {
				first = nil
			}
			var err error
			if seq, err = p.w.b.store(p.subject, m.h, m.data, first); err != nil {
				return err
			}
		}
		return nil
	})
	return seq, err
}

func (p simPublisher) Close() {}

// Limits of a pull in the simulation. The size of each message is a multiple of
// simBlock, so that most pulls end with their bytes used up, of which the server
// says nothing; some messages are larger than a pull.
const (
	simBlock     = 256
	simPullBytes = 8 * simBlock
	simPullMost  = 64
)

// A simPull is what is left of a pull that is open at the server.
type simPull struct{ messages, bytes int }

type simSource struct {
	w      *simWire
	stream *simStream
	next   uint64
	open   []simPull    // in the order in which the server serves them
	pulls  broker.Pulls // what the reader knows of them
	come   task.Signal  // the reader's signal; nil: it has not waited yet
	heard  time.Time
	silent bool
}

func (w *simWire) Read(ctx context.Context, stream string, from uint64) (broker.Source, error) {
	src := &simSource{w: w, stream: w.b.stream(stream), next: from, heard: w.b.now(), pulls: broker.Pulls{Messages: simPullMost, Bytes: simPullBytes}}
	src.pull()
	err := w.call(ctx, func() error {
		w.sources = append(w.sources, src)
		return nil
	})
	return src, err
}

// pull makes the next pull, if it is time.
func (s *simSource) pull() {
	if messages, bytes := s.pulls.Next(); messages > 0 {
		s.open = append(s.open, simPull{messages, bytes})
	}
}

// send reports whether an open pull brings message m. Like NATS, it serves the open
// pulls in turn, ends those that the message exceeds, and says nothing at the end
// of one that is used up.
func (s *simSource) send(m broker.Stored) bool {
	size := (len(m.Subject) + len(m.Data) + simBlock - 1) / simBlock * simBlock
	for len(s.open) > 0 {
		p := s.open[0]
		s.open = s.open[1:]
		if size > p.bytes {
			s.pulls.Ended(p.messages, p.bytes, true)
			s.pull()
			continue
		}
		p.messages, p.bytes = p.messages-1, p.bytes-size
		if p.messages > 0 && p.bytes > 0 {
			s.open = append(s.open, p)
		}
		s.pulls.Came(size)
		s.pull()
		if p.messages == 0 && p.bytes > 0 {
			s.pulls.Ended(0, p.bytes, false)
			s.pull()
		}
		return true
	}
	return false
}

func (s *simSource) wake() {
	if s.come != nil {
		s.come.Set()
	}
}

func (s *simSource) Wait(ctx context.Context, e task.Signal, d time.Duration) {
	s.come = e
	e.Wait(ctx, d)
}

func (s *simSource) waits() int {
	if s.silent || s.w.closed {
		return 0
	}
	s.next = max(s.next, s.stream.first)
	for int(s.next) <= len(s.stream.messages) && s.stream.gone(s.stream.messages[s.next-1]) {
		s.next++
	}
	return max(0, len(s.stream.messages)-int(s.next)+1)
}

func (s *simSource) Next() (broker.Stored, bool, error) {
	b := s.w.b
	if s.waits() == 0 || s.w.of.dead {
		return broker.Stored{}, false, nil
	}
	s.heard = b.now()
	switch {
	case b.chance(b.faults.silence):
		s.silent = true
		return broker.Stored{}, false, nil
	case b.chance(b.faults.gap) && s.waits() > 1:
		s.next++
	case b.chance(20): // messages arrive a few at a time
		b.start(&process{name: "network"}, func() {
			b.simulation.rest(context.Background(), nil, b.upTo(20*time.Millisecond))
			s.wake()
		})
		return broker.Stored{}, false, nil
	}
	if s.waits() == 0 {
		return broker.Stored{}, false, nil
	}
	m := s.stream.messages[s.next-1]
	if m.Seq != s.next {
		panic(fmt.Sprintf("message %d stands at %d", m.Seq, s.next))
	}
	if !s.send(m) {
		if b.stalled == nil {
			b.stalled = fmt.Errorf("a reader waits for message %d after %v, and has not requested it", m.Seq, b.time)
		}
		return broker.Stored{}, false, nil
	}
	s.next++
	return m, true, nil
}

func (s *simSource) Pending() uint64 {
	return uint64(max(0, len(s.stream.messages)-int(s.next)+1))
}

// Heard is now, as an idle server sends heartbeats, unless the consumer is gone or
// no pull is open.
func (s *simSource) Heard() time.Time {
	if s.silent || s.w.closed || len(s.open) == 0 {
		return s.heard
	}
	return s.w.b.now()
}

func (s *simSource) Close() {
	s.w.sources = slices.DeleteFunc(s.w.sources, func(o *simSource) bool { return o == s })
}
