package pipeline

import (
	"bytes"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// A Message is one message of a partition's log.
type Message struct {
	Seq    uint64 // sequence in the stream EVENTS-<p>, from 1
	Stored int64  // stored time, nanoseconds since 1970
	Kind   Kind
	From   int // of kind From: the partition that sent it
	Data   []byte
}

// A Kind is the kind of a message, which is the last token of its subject.
type Kind uint8

const (
	In      Kind = iota + 1 // events: newline-delimited JSON
	Tick                    // {"at": time}: moves log time
	Control                 // JSON, see control.go: puts a campaign set in force, or pauses campaigns
	Accept                  // {"chains": {chain: n}, "after": n, "why": text}: accepts earlier losses
	From                    // mails that another partition's entities send to entities of this one (mailpack.go)
)

// ControlSet is the hash of the set in a Control message.
func ControlSet(data []byte) string { return fastjson.GetString(data, "set") }

// readStamp is the time at which the writer of a tick or control message wrote
// it.
func readStamp(data []byte) (int64, bool) {
	ns, err := value.ParseTime(fastjson.GetString(data, "at"))
	return ns, err == nil
}

// lastReceived is the time at which the gateway wrote a pack: the receivedAt of
// its last event.
func lastReceived(dec *event.Decoder, pack []byte) (int64, bool) {
	pack = bytes.TrimRight(pack, " \r\n\t")
	last := pack[bytes.LastIndexByte(pack, '\n')+1:]
	if ns, ok := dec.Received(last); ok {
		return ns, true
	}
	ns, err := value.ParseTime(fastjson.GetString(last, "receivedAt"))
	return ns, err == nil
}

// line cuts the first non-empty line off b; first is nil if there is none.
func line(b []byte) (first, rest []byte) {
	for len(b) > 0 {
		first, rest, _ = bytes.Cut(b, []byte{'\n'})
		if len(bytes.TrimSpace(first)) > 0 {
			return first, rest
		}
		b = rest
	}
	return nil, nil
}
