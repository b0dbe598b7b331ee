package worker

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
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

// listen takes queries for all partitions of the connection: core NATS, so
// that nothing of them is stored.
func (w *Worker) listen(p *partition, nc *nats.Conn, subject string) (*nats.Subscription, error) {
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
		select {
		case p.queries <- m:
		default: // the asker's time runs out, and asks again
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", subject, err)
	}
	return sub, nil
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
