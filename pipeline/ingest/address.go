package ingest

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientOf returns the address that a request is counted under. It is that of the
// connection's other end. If that is this machine or one of a private network, it
// may be a proxy: then the address is the last one in X-Forwarded-For that is not
// of a private network, which the proxy has written. What stands before it may be
// the client's own invention. A client whose connection comes from a public
// address cannot choose another one.
func clientOf(r *http.Request) netip.Addr {
	peer := parseAddress(r.RemoteAddr)
	if lists := r.Header["X-Forwarded-For"]; len(lists) > 0 && nearby(peer) {
		return forwarded(peer, lists)
	}
	return counted(peer)
}

// forwarded reads the values of X-Forwarded-For from the end.
func forwarded(peer netip.Addr, lists []string) netip.Addr {
	at := peer
	for i := len(lists) - 1; i >= 0; i-- {
		for list, more := lists[i], true; more; {
			var item string
			if comma := strings.LastIndexByte(list, ','); comma >= 0 {
				list, item = list[:comma], list[comma+1:]
			} else {
				item, more = list, false
			}
			next := parseAddress(strings.TrimSpace(item))
			if !next.IsValid() {
				return counted(at)
			}
			if at = next; !nearby(at) {
				return counted(at)
			}
		}
	}
	return counted(at)
}

// parseAddress reads an IP address with or without a port. For anything else the
// result is not valid.
func parseAddress(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap()
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// nearby reports whether an address is this machine's or a private network's. A
// peer without an IP address is one on this machine.
func nearby(a netip.Addr) bool {
	return !a.IsValid() || a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
}

// counted returns the address that stands for a: in IPv6 the network of 64 bits,
// which is what one customer of a provider has at least.
func counted(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
