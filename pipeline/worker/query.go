package worker

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"offerstream/pipeline/broker"
)

// A Query asks a partition's owner about a user: its entity key. It goes to
// broker's QuerySubject and is answered with pipeline.UserView, or an Answer
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
	} else if view, err := s.fold.View(q.Key); err != nil {
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
