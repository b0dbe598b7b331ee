package broker

import (
	"errors"
	"fmt"
)

// ErrLoud marks an error that must stop a partition until an operator has
// looked: going on could lose or double offers in silence.
var ErrLoud = errors.New("stopped for an operator to look at")

// WayOut is what an operator can do about a log or a chain that is not the
// one that the state was made of.
func (c *Conn) WayOut(partition int) string {
	return "put the streams of NATS back as they were and start the worker again; where they are lost, " + c.Accept(partition)
}

// Accept is the command that accepts that something of a partition is lost.
func (c *Conn) Accept(partition int) string {
	prefix := ""
	if c.Names.Prefix != "" {
		prefix = " --prefix " + c.Names.Prefix
	}
	return fmt.Sprintf("stop all workers, run `offerctl accept --partition %d%s --nats %s`, which says what is lost, and start them again", partition, prefix, c.opt.where())
}

// Loud makes err such an error.
func Loud(err error) error { return &loud{err} }

type loud struct{ error }

func (l *loud) Unwrap() error        { return l.error }
func (l *loud) Is(target error) bool { return target == ErrLoud }
