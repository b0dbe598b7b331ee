package worker

import (
	"encoding/json"
	"strings"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/state"
)

// listen takes queries about the partition while it owns it: core NATS, so
// that nothing of them is stored.
func (p *partition) listen(conn *broker.Conn) (unlisten func(), err error) {
	return conn.Wire.Listen(conn.Names.QuerySubject(p.number), func(q broker.Question) {
		if p.muted.Load() {
			return
		}
		select {
		case p.queries <- q:
			p.wake.Set()
		default: // whoever asks waits in vain, and asks again
		}
	})
}

func (a *attempt) answer(asked broker.Question) {
	var q broker.Query
	var answer broker.Answer
	if err := json.Unmarshal(asked.Data, &q); err != nil || q.Key == "" {
		answer.Error = "the query is not understood: use the offerctl of this version"
	} else if view, err := a.fold.User(q.Key); err != nil {
		answer.Error = err.Error()
	} else if answer.User, err = json.Marshal(view); err != nil {
		answer.Error = err.Error()
	}
	b, err := json.Marshal(answer)
	if err != nil {
		b = []byte(`{"error":"the answer does not marshal"}`)
	}
	if err := asked.Answer(b); err != nil {
		a.p.log.Debug("cannot answer a query", "error", err)
	}
}

// longestWhy bounds a stop's reason: the answer for all partitions is one message.
const longestWhy = 500

// report tells whoever asks how far the partitions are. No attempt is asked:
// one that hangs or has stopped is what the asker wants to know of.
func (w *Worker) report(conn *broker.Conn) (unlisten func(), err error) {
	return conn.Wire.Listen(conn.Names.StatusSubject(), func(q broker.Question) {
		b, err := json.Marshal(w.reports())
		if err == nil {
			err = q.Answer(b)
		}
		if err != nil {
			w.opt.Log.Debug("cannot tell the status", "error", err)
		}
	})
}

func (w *Worker) reports() broker.Report {
	r := broker.Report{Member: w.id, Ahead: time.Duration(w.ahead.Load())}
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
		r.Partitions = append(r.Partitions, broker.PartitionReport{Partition: n, PartitionStatus: s, Bytes: bytes})
	}
	return r
}
