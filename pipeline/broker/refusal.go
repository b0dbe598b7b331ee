package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Refusal is an error that retrying cannot resolve: the deployment is not what
// this process was told it is, or the server denies access.
type Refusal struct {
	What string // such as stream OFFERS
	Why  string // such as max_msgs_per_subject is 5, this deployment needs 100000
	Do   string // what to do about it
}

func (r *Refusal) Error() string { return r.What + ": " + r.Why + ": " + r.Do }

// refused turns an error of connecting into a Refusal if retrying cannot resolve
// it.
func (o Options) refused(err error) error {
	what := "NATS at " + o.where()
	for _, e := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, e) {
			return &Refusal{what, err.Error(), "check the user and password in the URL, or the credentials file"}
		}
	}
	var address *url.Error
	if errors.As(err, &address) {
		return &Refusal{what, address.Err.Error(), "give a URL such as nats://127.0.0.1:4222"}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return &Refusal{what, err.Error(), "check the path of the credentials file"}
	}
	return fmt.Errorf("connect: %w", err)
}

// failed adds to err what could not be provisioned, and makes it a Refusal if
// waiting cannot help.
func (c *Conn) failed(what string, err error) error {
	var no *Refusal
	switch {
	case errors.As(err, &no):
		return err
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return &Refusal{what, err.Error(), "enable JetStream in the server's configuration and for the account"}
	}
	if d := c.denied.last(); d != nil && !errors.Is(err, errMaking) {
		return &Refusal{what, d.Error(), "give the user this right, or connect as another (deploy/nats.conf has a user for each role)"}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: JetStream does not answer; is it enabled in the server and for this account? (%w)", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// errMaking means that something does not exist yet and this user has no right
// to make it. Connect then waits until a user with that right has made it.
var errMaking = errors.New("it does not exist yet, and this user may not make it: waiting for a worker or operator to make it")

// denials records the server's permission errors while a watch is on. They come
// separately from the requests that they answer; the requests themselves would
// only time out.
type denials struct {
	mu     sync.Mutex
	err    error
	cancel context.CancelFunc // set while a watch is on
}

// note records err and reports true if it is a permission error and a watch is
// on.
func (d *denials) note(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel == nil || !errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	d.err = err
	d.cancel()
	return true
}

// watch returns a context that ends at the first permission error.
func (d *denials) watch(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancel = cancel
	return ctx, func() {
		cancel()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.cancel = nil
	}
}

func (d *denials) last() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// making turns err into errMaking if making something was denied.
func (d *denials) making(err error) error {
	if denied := d.last(); err != nil && denied != nil {
		return fmt.Errorf("%w (%v)", errMaking, denied)
	}
	return err
}
