package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline"
)

// tickEvery is how often at most a tick is published: the one before may have
// been too early, where the broker's clock is behind.
const tickEvery = 100 * time.Millisecond

// untilTick is how long to wait until a timer is due by the owner's clock.
func (s *session) untilTick() time.Duration {
	due, ok := s.fold.NextDue()
	if !ok || s.fold.Clock() == pipeline.ClockEvent {
		return time.Hour
	}
	wait := time.Duration(due - s.w.opt.Now())
	return max(wait, time.Until(s.tickAt.Add(tickEvery)), 0)
}

// tick moves the log's time on where a timer is due and nothing else does.
// It may be lost or come twice: neither matters.
func (s *session) tick() {
	due, ok := s.fold.NextDue()
	now := s.w.opt.Now()
	if !ok || due > now || s.fold.Clock() == pipeline.ClockEvent || time.Since(s.tickAt) < tickEvery {
		return
	}
	if !s.reader.CaughtUp() {
		s.tickAt = time.Now() // messages that are there will do
		return
	}
	s.tickAt = time.Now()
	data := fmt.Appendf(nil, `{"at":%q}`, pipeline.FormatTime(now))
	if err := s.conn.NC.Publish(s.conn.Names.EventsSubject(s.p, "tick"), data); err != nil {
		s.log.Warn("cannot publish a tick", "error", err)
		return
	}
	s.w.met.ticks.Inc()
}

// A controller appends a control message to the log when the live campaign
// set is not the one that was last put in force.
type controller struct {
	tried time.Time
}

const controlEvery = time.Second

// look compares and appends. Another owner may do the same at the same time:
// the message is appended where none has come since the last one applied.
func (c *controller) look(ctx context.Context, s *session) error {
	live := s.w.liveSet()
	seq, _, _, set := s.fold.At()
	if live == "" || live == set || time.Since(c.tried) < controlEvery {
		return nil
	}
	c.tried = time.Now()
	live, err := s.liveNow(ctx)
	if err != nil {
		s.log.Warn("cannot read which campaign set is live: trying again", "error", err)
		return nil
	}
	if live == "" || live == set {
		return nil
	}
	if _, err := s.w.sets.get(ctx, s.conn)(live); err != nil {
		s.log.Error("the live campaign set cannot be put in force", "set", live, "error", err)
		return nil
	}
	subject := s.conn.Names.EventsSubject(s.p, "control")
	last, err := s.lastControl(ctx, subject)
	if err != nil {
		s.log.Warn("cannot read the last control message: trying again", "error", err)
		return nil
	}
	if last > seq {
		return nil // one is on its way
	}
	m := &nats.Msg{Subject: subject, Data: fmt.Appendf(nil, `{"set":%q,"engine":%d,"at":%q}`, live, pipeline.Engine, pipeline.FormatTime(s.w.opt.Now()))}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := s.conn.JS.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last)); err != nil {
		s.log.Warn("cannot append the control message: trying again", "set", live, "error", err)
		return nil
	}
	s.log.Info("campaign set goes live from here", "set", live, "after", seq)
	return nil
}

// liveNow asks what is live. The watch may tell late: another owner's message
// may have brought the set here before, and an older one would undo it.
func (s *session) liveNow(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	hash, _, err := s.conn.Live(ctx)
	return hash, err
}

func (s *session) lastControl(ctx context.Context, subject string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	st, err := s.conn.JS.Stream(ctx, s.conn.Names.EventsStream(s.p))
	if err != nil {
		return 0, err
	}
	m, err := st.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}
