package broker

import "errors"

// ErrLoud marks an error that must stop a partition until an operator has
// looked: going on could lose or double offers in silence.
var ErrLoud = errors.New("stopped for an operator to look at")

// WayOut is what an operator can do about a log or a chain that is not the
// one that the state was made of.
const WayOut = "put the streams of NATS back as they were and start the worker again; where they are lost, begin anew under another --prefix"

// Loud makes err such an error.
func Loud(err error) error { return &loud{err} }

type loud struct{ error }

func (l *loud) Unwrap() error        { return l.error }
func (l *loud) Is(target error) bool { return target == ErrLoud }
