package ingest

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientOf returns the address that a request is counted under. It is that of the
// connection's other end. If that may be a proxy's, the address is the last one in
// X-Forwarded-For that is not, which the proxy has written. What stands before it may be
// the client's own invention. A client whose connection comes from elsewhere cannot choose
// another address.
func (p proxies) clientOf(r *http.Request) netip.Addr {
	peer := parseAddress(r.RemoteAddr)
	if lists := r.Header["X-Forwarded-For"]; len(lists) > 0 && p.has(peer) {
		return p.forwarded(peer, lists)
	}
	return counted(peer)
}

// forwarded reads the values of X-Forwarded-For from the end.
func (p proxies) forwarded(peer netip.Addr, lists []string) netip.Addr {
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
			if at = next; !p.has(at) {
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

// proxies are the networks that proxies before the gateway are in; none: this machine and
// private networks.
type proxies []netip.Prefix

// has reports whether an address may be a proxy's. A peer without an IP address is one on
// this machine, as behind a socket.
func (p proxies) has(a netip.Addr) bool {
	if !a.IsValid() {
		return true
	}
	for _, network := range p {
		if network.Contains(a) {
			return true
		}
	}
	return len(p) == 0 && (a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast())
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
