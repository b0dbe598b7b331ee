package pipeline

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/valyala/fastjson"

	"offerstream/pipeline/value"
)

// A Message is one message of a partition's log.
type Message struct {
	Seq    uint64 // sequence in the stream EVENTS-<p>, from 1
	Stored int64  // stored time, nanoseconds since 1970
	Kind   Kind
	Data   []byte
}

// A Kind is the kind of a message, which is the last token of its subject.
type Kind uint8

const (
	In      Kind = iota + 1 // events: newline-delimited JSON
	Tick                    // {"at": time}: moves log time
	Control                 // {"set": hash, "engine": n, "at": time}: puts a campaign set in force; or {"paused": [campaign], "engine": n, "at": time}
	Accept                  // {"chains": {chain: n}, "after": n, "why": text}: accepts earlier losses
)

// A control is a decoded Control message.
type control struct {
	set    *Set     // nil: the set in force stays
	paused []string // with set nil: the campaigns that are paused from here on
	engine int

	pauses   uint64            // with set nil: the revision of what is paused; 0: none, as in messages of engine 3
	channels []string          // whose advertising is paused from here on
	resumed  map[string]uint64 // by "channel sms" or "campaign id": the revision at which it was last resumed
	at       int64             // the writer's stamp; 0: none
}

func (f *Fold) readControl(data []byte) (*control, error) {
	v, err := fastjson.ParseBytes(data)
	if err != nil {
		return nil, err
	}
	c := &control{engine: v.GetInt("engine")}
	if !runs(c.engine, f.newest) {
		return nil, fmt.Errorf("it asks for engine %d, this binary runs engine %s: run a binary that has it", c.engine, engines(f.newest))
	}
	c.at, _ = readStamp(data)
	if paused := v.Get("paused"); paused != nil {
		if c.paused, err = pausedOf(paused); err != nil {
			return c, err
		}
		return c, c.readPauses(v)
	}
	if c.set, err = f.sets(value.CloneText(v.Get("set"))); err == nil && c.set.def.Engine != c.engine {
		err = fmt.Errorf("it asks for engine %d, and for a set of engine %d: apply the campaigns again", c.engine, c.set.def.Engine)
	}
	if err == nil {
		_, err = f.couponKey(c.set)
	}
	return c, err
}

// mostPaused bounds the campaigns that can be paused at a time, and mostResumed what
// a control message tells of resumed ones.
const (
	mostPaused  = 1000
	mostResumed = 10_000
)

// pausedOf reads the campaigns that are paused.
func pausedOf(v *fastjson.Value) (names []string, err error) {
	list, err := v.Array()
	if err == nil && len(list) > mostPaused {
		err = fmt.Errorf("%d campaigns are paused, at most %d can be", len(list), mostPaused)
	}
	for _, e := range list {
		name := value.CloneText(e)
		if name == "" && err == nil {
			err = fmt.Errorf("%s is not the id of a campaign", e)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// readPauses reads the revision, the channels and what was resumed.
func (c *control) readPauses(v *fastjson.Value) (err error) {
	c.pauses = v.GetUint64("pauses")
	if channels := v.Get("channels"); channels != nil {
		if c.channels, err = pausedOf(channels); err != nil {
			return err
		}
	}
	c.resumed = map[string]uint64{}
	v.GetObject("resumed").Visit(func(name []byte, revision *fastjson.Value) {
		if c.resumed[string(name)] = revision.GetUint64(); len(c.resumed) > mostResumed && err == nil {
			err = fmt.Errorf("more than %d names of what was resumed", mostResumed)
		}
	})
	return err
}

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
func lastReceived(pack []byte) (int64, bool) {
	pack = bytes.TrimRight(pack, " \r\n\t")
	last := pack[bytes.LastIndexByte(pack, '\n')+1:]
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
