package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// A Message is one message of a partition's log.
type Message struct {
	Seq    uint64 // its sequence in EVENTS-<p>, from 1
	Stored int64  // its stored time, nanoseconds since 1970
	Kind   Kind
	Data   []byte
}

// Kind is what a message of the log is, told by the last token of its subject.
type Kind uint8

const (
	In      Kind = iota + 1 // events, newline-delimited JSON
	Tick                    // {"at": time}: moves log time
	Control                 // {"set": hash, "engine": n, "at": time}: the campaign set from here on
	Accept                  // {"chains": {chain: n}, "why": text}: what was lost before is accepted
)

type control struct {
	set    *Set
	engine int
	at     int64
}

func (f *Fold) readControl(data []byte) (*control, error) {
	v, err := fastjson.ParseBytes(data)
	if err != nil {
		return nil, err
	}
	c := &control{engine: v.GetInt("engine")}
	if !runs(c.engine, f.newest) {
		return nil, fmt.Errorf("it asks for engine %d, this binary runs engine %d and the one before: run a binary that has it", c.engine, f.newest)
	}
	c.at, _ = readAt(data)
	if c.set, err = f.sets(value.CloneText(v.Get("set"))); err == nil && c.set.def.Engine != c.engine {
		err = fmt.Errorf("it asks for engine %d, and for a set of engine %d: apply the campaigns again", c.engine, c.set.def.Engine)
	}
	return c, err
}

// An Acceptance is what an operator has put into the log after a loud stop: it
// gives the chains' last numbers as they were stored then. From here on each
// chain goes on behind both that and what the log before has given, with a
// Mark; records before it that are missing, or of another log, are accepted.
type Acceptance struct {
	Chains map[string]uint64 `json:"chains"`
	Why    string            `json:"why"`
}

func readAcceptance(data []byte) (*Acceptance, error) {
	var a Acceptance
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, err
	}
	for name := range a.Chains {
		if name != "dead" && !strings.HasPrefix(name, "offers.") {
			return nil, fmt.Errorf("chain %q is none", name)
		}
	}
	return &a, nil
}

// ControlSet is the hash of the set that a Control message names.
func ControlSet(data []byte) string { return fastjson.GetString(data, "set") }

// readAt is the writer's stamp of a tick or control message.
func readAt(data []byte) (int64, bool) {
	ns, err := value.ParseTime(fastjson.GetString(data, "at"))
	return ns, err == nil
}

// lastReceived is the stamp of a pack: the receivedAt of its last event.
func lastReceived(pack []byte) (int64, bool) {
	pack = bytes.TrimRight(pack, " \r\n\t")
	last := pack[bytes.LastIndexByte(pack, '\n')+1:]
	ns, err := value.ParseTime(fastjson.GetString(last, "receivedAt"))
	return ns, err == nil
}

// line cuts the first line that is not empty off b; nil when there is none.
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
