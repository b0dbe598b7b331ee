package worker

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/broker"
	"offerstream/state"
)

// A Query asks a partition's owner about a user: its entity key. It goes to
// broker's QuerySubject and is answered with pipeline.User, or an Answer
// with the error.
type Query struct {
	Key string `json:"key"`
}

// An Answer is what comes back.
type Answer struct {
	Error string          `json:"error,omitempty"`
	User  json.RawMessage `json:"user,omitempty"`
}

// listen takes queries about the partition while it owns it: core NATS, so
// that nothing of them is stored.
func (p *partition) listen(conn *broker.Conn) (unlisten func(), err error) {
	if conn.NC == nil {
		return func() {}, nil // the simulation asks nothing
	}
	subject := conn.Names.QuerySubject(p.p)
	sub, err := conn.NC.Subscribe(subject, func(m *nats.Msg) {
		if p.muted.Load() {
			return
		}
		select {
		case p.queries <- m:
			p.wake.Set()
		default: // the asker's time runs out, and asks again
		}
	})
	if err != nil {
		return func() {}, fmt.Errorf("listen on %s: %w", subject, err)
	}
	return func() { sub.Unsubscribe() }, nil
}

func (s *session) answer(m *nats.Msg) {
	var q Query
	var a Answer
	if err := json.Unmarshal(m.Data, &q); err != nil || q.Key == "" {
		a.Error = "the query is not understood: use the offerctl of this version"
	} else if view, err := s.fold.User(q.Key); err != nil {
		a.Error = err.Error()
	} else if a.User, err = json.Marshal(view); err != nil {
		a.Error = err.Error()
	}
	b, err := json.Marshal(a)
	if err != nil {
		b = []byte(`{"error":"the answer does not marshal"}`)
	}
	if err := m.Respond(b); err != nil {
		s.log.Debug("cannot answer a query", "error", err)
	}
}

// A Report is what a worker answers on broker's StatusSubject.
type Report struct {
	Member     string
	Partitions []PartitionReport // that it owns or follows, or that have stopped
	Ahead      time.Duration     // of NATS' clock is the member's; below 0: behind
}

// A PartitionReport is one partition's status with a worker.
type PartitionReport struct {
	Partition int
	Status
	Bytes int64 // of its state on disk; 0: not known
}

// longestWhy bounds a stop's reason: the answer for all partitions is one message.
const longestWhy = 500

// report tells whoever asks how far the partitions are. No session is asked:
// one that hangs or has stopped is what the asker wants to know of.
func (w *Worker) report(conn *broker.Conn) (deaf func(), err error) {
	if conn.NC == nil {
		return func() {}, nil
	}
	subject := conn.Names.StatusSubject()
	sub, err := conn.NC.Subscribe(subject, func(m *nats.Msg) {
		b, err := json.Marshal(w.reports())
		if err == nil {
			err = m.Respond(b)
		}
		if err != nil {
			w.opt.Log.Debug("cannot tell the status", "error", err)
		}
	})
	if err != nil {
		return func() {}, fmt.Errorf("listen on %s: %w", subject, err)
	}
	return func() { sub.Unsubscribe() }, nil
}

func (w *Worker) reports() Report {
	r := Report{Member: w.id, Ahead: time.Duration(w.ahead.Load())}
	ps := w.all()
	for n, s := range w.Status() {
		if !s.Owned && !s.Follows && s.Stopped == "" {
			continue
		}
		if len(s.Stopped) > longestWhy {
			s.Stopped = strings.ToValidUTF8(s.Stopped[:longestWhy], "") + "..."
		}
		bytes, err := state.Bytes(ps[n].dir)
		if err != nil {
			bytes = 0 // it is being made, or restored
		}
		r.Partitions = append(r.Partitions, PartitionReport{n, s, bytes})
	}
	return r
}
