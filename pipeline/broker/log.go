package broker

import (
	"fmt"

	"offerstream/pipeline/value"
)

// Tick sends a tick, which moves a partition's log time on to at (nanoseconds
// since 1970). The tick may be lost.
func (c *Conn) Tick(partition int, at int64) error {
	return c.Wire.Send(c.Names.EventsSubject(partition, "tick"), fmt.Appendf(nil, `{"at":%q}`, value.FormatTime(at)))
}
