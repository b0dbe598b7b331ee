package ingest

import (
	"errors"
	"net/http"
	"strings"

	"github.com/mileusna/useragent"

	"offerstream/pipeline/event"
)

// bots tells the events of crawlers that tell who they are: they run the scripts of pages,
// and would count as visitors.
type bots struct {
	agent string // the last one that was looked at
	is    bool
	whole bool // the request's own agent is a bot's
}

func newBots(h http.Header) *bots {
	b := &bots{}
	b.whole = b.bot(h.Get("User-Agent"))
	return b
}

// errBot says that an event is a bot's. The request does not fail for that.
var errBot = errors.New("sent by a crawler")

// maxAgent is how many bytes of an agent's name are looked at.
const maxAgent = 512

func (b *bots) bot(agent string) bool {
	agent = agent[:min(len(agent), maxAgent)]
	if agent != b.agent {
		b.agent = strings.Clone(agent) // it may be in an event's memory
		b.is = useragent.Parse(b.agent).Bot
	}
	return b.is
}

// sent reports whether a bot has sent the event. A server that passes events on leaves
// the browser's agent in the context.
func (b *bots) sent(ev *event.Event) bool {
	if b.whole {
		return true
	}
	agent, is, _ := ev.TextIn(event.InContext, "userAgent")
	return is && b.bot(agent)
}
