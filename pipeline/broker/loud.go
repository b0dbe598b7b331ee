package broker

import (
	"errors"
	"fmt"
)

// ErrLoud is matched by errors that must stop a partition until an operator has
// acted: going on could lose or double offers in silence.
var ErrLoud = errors.New("stopped until an operator acts")

// WayOut returns what an operator can do about a log or a chain that does not
// match the state.
func (c *Conn) WayOut(partition int) string {
	return "restore the streams of NATS and start the worker again; if they are lost, " + c.Accept(partition)
}

// Accept returns how an operator accepts that data of a partition is lost.
func (c *Conn) Accept(partition int) string {
	prefix := ""
	if c.Names.Prefix != "" {
		prefix = " --prefix " + c.Names.Prefix
	}
	return fmt.Sprintf("stop all workers, run `offerctl accept --partition %d%s --nats %s`, which says what is lost, and start them again", partition, prefix, c.opt.where())
}

// Loud wraps err in an error that matches ErrLoud.
func Loud(err error) error { return &loud{err} }

type loud struct{ error }

func (l *loud) Unwrap() error        { return l.error }
func (l *loud) Is(target error) bool { return target == ErrLoud }
