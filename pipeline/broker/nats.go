package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"offerstream/pipeline/task"
)

// natsWire implements Wire over a connection to NATS.
type natsWire struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	closed <-chan struct{}

	mu      sync.Mutex
	buckets map[string]jetstream.KeyValue
}

func (w *natsWire) bucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	w.mu.Lock()
	kv := w.buckets[name]
	w.mu.Unlock()
	if kv != nil {
		return kv, nil
	}
	kv, err := w.js.KeyValue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.buckets == nil {
		w.buckets = map[string]jetstream.KeyValue{}
	}
	w.buckets[name] = kv
	return kv, nil
}

func (w *natsWire) Extent(ctx context.Context, stream string) (first, last uint64, err error) {
	st, err := w.js.Stream(ctx, stream) // asks the leader
	if err != nil {
		return 0, 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	s := st.CachedInfo().State
	return max(s.FirstSeq, 1), s.LastSeq, nil
}

func (w *natsWire) Subjects(ctx context.Context, stream, filter string) ([]string, error) {
	st, err := w.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", stream, err)
	}
	info, err := st.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("subjects of %s: %w", stream, err)
	}
	var all []string
	for subject := range info.State.Subjects {
		all = append(all, subject)
	}
	return all, nil
}

func (w *natsWire) Last(ctx context.Context, stream, subject string) (Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	req, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return Stored{}, err
	}
	m, err := w.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, req) // the leader answers
	if err != nil {
		return Stored{}, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return Stored{}, fmt.Errorf("decode the answer %q: %w", m.Data, err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return Stored{}, jetstream.ErrMsgNotFound
	case answer.Error != nil:
		return Stored{}, answer.Error
	case answer.Message == nil:
		return Stored{}, fmt.Errorf("decode the answer %q: it has no message", m.Data)
	}
	got := answer.Message
	s := Stored{Seq: got.Seq, Time: got.Time.UnixNano(), Subject: got.Subject, Data: got.Data}
	if len(got.Header) > 0 {
		s.Header, err = nats.DecodeHeadersMsg(got.Header)
	}
	return s, err
}

func (w *natsWire) Send(subject string, data []byte) error { return w.nc.Publish(subject, data) }

func (w *natsWire) Listen(subject string, fn func(Question)) (stop func(), err error) {
	sub, err := w.nc.Subscribe(subject, func(m *nats.Msg) {
		fn(Question{Data: m.Data, Answer: func(data []byte) error { return answer(w.nc, m, data) }})
	})
	if err != nil {
		return func() {}, fmt.Errorf("listen on %s: %w", subject, err)
	}
	return func() { sub.Unsubscribe() }, nil
}

func (w *natsWire) Clock(ctx context.Context, stream string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	st, err := w.js.Stream(ctx, stream) // asks the leader
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", stream, err)
	}
	return st.CachedInfo().TimeStamp.UnixNano(), nil
}

func (w *natsWire) Get(ctx context.Context, bucket, key string) ([]byte, uint64, error) {
	if key == "" || key[0] == '.' || strings.HasSuffix(key, ".") || strings.Contains(key, "..") || strings.ContainsAny(key, " \t\r\n*>") { // it would name several keys, or none
		return nil, 0, jetstream.ErrInvalidKey
	}
	m, err := w.Last(ctx, "KV_"+bucket, "$KV."+bucket+"."+key) // the client library's Get may ask a replica that lags behind
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && (m.Header.Get("KV-Operation") != "" || m.Header.Get(jetstream.MarkerReasonHeader) != "") {
		return nil, 0, jetstream.ErrKeyNotFound
	}
	if err != nil {
		return nil, 0, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	return m.Data, m.Seq, nil
}

func (w *natsWire) Watch(ctx context.Context, bucket, key string, fn func(value []byte)) error {
	again := w.nc.StatusChanged(nats.CONNECTED) // after a reconnect, the new server may not know the watch
	defer w.nc.RemoveStatusListener(again)
	kv, err := w.bucket(ctx, bucket)
	if err != nil {
		return err
	}
	watch, err := kv.Watch(ctx, key)
	if err != nil {
		return err
	}
	defer watch.Stop()
	none := true
	for {
		select {
		case e, ok := <-watch.Updates():
			switch {
			case !ok:
				return errors.New("the server sends no more updates")
			case e != nil && e.Operation() == jetstream.KeyValuePut:
				none = false
				fn(e.Value())
			case e != nil || none:
				fn(nil)
			}
		case <-again:
			return nil
		case <-w.closed:
			return jetstream.ErrConnectionClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *natsWire) IsClosed() bool { return w.nc.IsClosed() }

func (w *natsWire) OnClose(e task.Signal) (stop func()) {
	ended := make(chan struct{})
	go func() {
		select {
		case <-w.closed:
			e.Set()
		case <-ended:
		}
	}()
	return func() { close(ended) }
}

// A natsPublisher publishes one message at a time and reuses the memory of the
// message before. Acknowledgements come to <inbox>.<attempt>.
type natsPublisher struct {
	w       *natsWire
	msg     nats.Msg
	inbox   string
	acks    chan *nats.Msg
	sub     *nats.Subscription
	batch   string // the batches' ids begin so; "": there was none
	attempt uint64
	timeout *time.Timer
}

func (w *natsWire) Publisher(subject string) (Publisher, error) {
	inbox := w.nc.NewInbox()
	p := &natsPublisher{w: w, msg: nats.Msg{Subject: subject}, inbox: inbox + ".", acks: make(chan *nats.Msg, 16), timeout: time.NewTimer(time.Hour)}
	var err error
	if p.sub, err = w.nc.ChanSubscribe(inbox+".*", p.acks); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *natsPublisher) Close() {
	p.sub.Unsubscribe()
	p.timeout.Stop()
}

func (p *natsPublisher) Publish(ctx context.Context, h nats.Header, data []byte, expect uint64) (uint64, error) {
	setHeader(h, jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expect, 10))
	p.attempt++
	p.msg.Header, p.msg.Data, p.msg.Reply = h, data, p.inbox+strconv.FormatUint(p.attempt, 10)
	if err := p.w.nc.PublishMsg(&p.msg); err != nil {
		return 0, err
	}
	return p.answer(ctx, 0)
}

// Headers of a message of a batch. The server keeps them in what it stores.
const (
	headerBatch       = "Nats-Batch-Id"
	headerBatchAt     = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// Batch is an atomic batch of JetStream: the server puts the messages aside, and judges
// the expected sequence and stores them all when the last one has come. It forgets a
// batch whose last message does not come within 10 s.
func (p *natsPublisher) Batch(ctx context.Context, n int, message func(i int) (nats.Header, []byte, error), expect uint64) (uint64, error) {
	p.attempt++
	if p.batch == "" {
		p.batch = rand.Text()
	}
	id := p.batch + "-" + strconv.FormatUint(p.attempt, 36)
	p.msg.Reply = ""
	for i := range n {
		h, data, err := message(i)
		if err != nil {
			return 0, err
		}
		setHeader(h, headerBatch, id)
		setHeader(h, headerBatchAt, strconv.Itoa(i+1))
		if i == 0 {
			setHeader(h, jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expect, 10))
		} else {
			delete(h, jetstream.ExpectedLastSubjSeqHeader)
		}
		if i == n-1 {
			setHeader(h, headerBatchCommit, "1")
			p.msg.Reply = p.inbox + strconv.FormatUint(p.attempt, 10)
		}
		p.msg.Header, p.msg.Data = h, data
		err = p.w.nc.PublishMsg(&p.msg)
		delete(h, headerBatch)
		delete(h, headerBatchAt)
		delete(h, headerBatchCommit)
		if err != nil {
			return 0, err
		}
	}
	return p.answer(ctx, n)
}

// answer waits for the answer to what was published last: a batch of that many
// messages, or a single one (0).
func (p *natsPublisher) answer(ctx context.Context, batch int) (uint64, error) {
	p.timeout.Reset(publishFor)
	for {
		select {
		case m := <-p.acks:
			if m.Subject != p.msg.Reply {
				continue // a late answer to an earlier attempt
			}
			return acknowledged(m, batch)
		case <-p.timeout.C:
			return 0, errNoAnswer
		case <-p.w.closed:
			return 0, ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

var errNoAnswer = fmt.Errorf("no answer within %v", publishFor)

// acknowledged reads the sequence of the last stored message from the server's answer
// to a publish of a batch of that many messages, or of a single one (0).
func acknowledged(m *nats.Msg, batch int) (uint64, error) {
	var answer struct {
		Seq   uint64              `json:"seq"`
		Count int                 `json:"count"` // of the messages of a batch
		Error *jetstream.APIError `json:"error"`
	}
	if seq, ok := plainAck(m.Data); ok && batch == 0 {
		return seq, nil
	}
	if len(m.Data) == 0 { // no responders: there is no such stream, or it has no leader
		return 0, jetstream.ErrNoStreamResponse
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return 0, fmt.Errorf("decode the answer %q: %w", m.Data, err)
	}
	switch {
	case answer.Error != nil:
		return 0, answer.Error
	case answer.Seq == 0:
		return 0, fmt.Errorf("decode the answer %q: it has no sequence", m.Data)
	case answer.Count != batch:
		return 0, fmt.Errorf("the answer %q is not about a batch of %d messages", m.Data, batch)
	}
	return answer.Seq, nil
}

// plainAck reads an answer of the form {"stream":"OFFERS","seq":7}, as nearly all
// answers are, without a JSON decoder.
func plainAck(b []byte) (seq uint64, ok bool) {
	b, found := bytes.CutPrefix(b, []byte(`{"stream":"`))
	i := bytes.IndexByte(b, '"')
	if !found || i < 0 {
		return 0, false
	}
	b, found = bytes.CutPrefix(b[i:], []byte(`","seq":`))
	if !found || len(b) < 2 || len(b) > 19 || b[len(b)-1] != '}' {
		return 0, false
	}
	for _, c := range b[:len(b)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		seq = 10*seq + uint64(c-'0')
	}
	return seq, seq > 0
}
