package deliver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// errPrivate means that the receiver is at an address that is not of the internet.
var errPrivate = errors.New("the address is private: if the receiver is meant to be there, give --allow-private")

// special are networks that are not of the internet, besides those that netip.Addr
// knows, and networks whose addresses contain others, through which a private one could
// be reached.
var special = func() (all []netip.Prefix) {
	for _, text := range [...]string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16", "fec0::/10",
	} {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}()

// public reports whether an address is of the internet.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// newDialer returns a dialer that refuses addresses that are not of the internet, unless
// they are allowed. It looks at the address that is dialled, after the name is resolved:
// a name may have another address each time.
func newDialer(allowPrivate bool) *net.Dialer {
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if allowPrivate {
		return d
	}
	d.Control = func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err == nil && !public(at.Addr()) {
			err = errPrivate
		}
		if err != nil {
			return fmt.Errorf("%s is refused: %w", address, err)
		}
		return nil
	}
	return d
}
