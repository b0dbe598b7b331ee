package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"offerstream/pipeline/unsubscribe"
)

// An Exposure is what a gateway on the open internet is told about it. The zero value
// limits and changes nothing, and trusts the proxies of this machine and of private
// networks.
type Exposure struct {
	Origins      []string       // of the pages whose scripts may send events; none: all
	TLSCert      string         // a file; "": no HTTPS
	TLSKey       string         // the file of its key
	Proxies      []netip.Prefix // whose X-Forwarded-For is believed; none: this machine and private networks
	AddressRate  int            // events per second that one address may send with keys of role browser; 0: any number
	UserRate     int            // the same for one user or visitor
	DropBots     bool           // events of browsers whose user agent is a bot's are not stored
	Redact       [][]string     // paths of members that are not stored
	VisitorKeys  [][]byte       // sign the ids and tokens of visitors; none: no offers are served to pages
	CutAddresses bool           // IP addresses in events are stored without their last part

	Unsubscribe *unsubscribe.Keys // of the links that it serves; nil: it serves none
}

// exposure are the settings of an Exposure.
var exposure = []setting{
	{name: "origins", arg: "LIST", about: "origins of the pages whose scripts may send events, as https://shop.example, comma-separated; empty: all",
		read: func(s *Settings, t string) (err error) { s.Origins, err = readOrigins(t); return },
		show: func(s *Settings) string { return strings.Join(s.Origins, ",") }},
	{name: "tls-cert", arg: "FILE", about: "the certificate with its chain, in PEM: the gateway serves HTTPS, with HTTP/2; read again when it changes; empty: HTTP, for a proxy before it",
		read: func(s *Settings, t string) (err error) { s.TLSCert, err = readFileName(t); return },
		show: func(s *Settings) string { return s.TLSCert }},
	{name: "tls-key", arg: "FILE", about: "the certificate's key, in PEM",
		read: func(s *Settings, t string) (err error) { s.TLSKey, err = readFileName(t); return },
		show: func(s *Settings) string { return s.TLSKey }},
	{name: "proxies", arg: "LIST", about: "networks of the proxies before the gateway, as 203.0.113.0/24, comma-separated: whose X-Forwarded-For is believed, and whose own addresses are not limited; empty: this machine and private networks",
		read: func(s *Settings, t string) (err error) { s.Proxies, err = readNetworks(t); return },
		show: func(s *Settings) string { return joined(s.Proxies) }},
	{name: "address-rate", arg: "N", def: "1000", about: "events per second that one address may send with keys of role browser, in IPv6 one network of 64 bits; a minute's worth may come at once; beyond it, 429; 0: any number",
		read: func(s *Settings, t string) (err error) { s.AddressRate, err = readInt(t, 0, maxRate); return },
		show: func(s *Settings) string { return strconv.Itoa(s.AddressRate) }},
	{name: "user-rate", arg: "N", def: "200", about: "the same for one user or visitor",
		read: func(s *Settings, t string) (err error) { s.UserRate, err = readInt(t, 0, maxRate); return },
		show: func(s *Settings) string { return strconv.Itoa(s.UserRate) }},
	{name: "bots", arg: "HOW", def: "keep", about: "keep or drop: events with keys of role browser from crawlers that tell who they are, as Googlebot, are stored, or only counted",
		read: func(s *Settings, t string) (err error) { s.DropBots, err = readEither(t, "keep", "drop"); return },
		show: func(s *Settings) string { return either(s.DropBots, "keep", "drop") }},
	{name: "redact", arg: "LIST", about: "members that are not stored, as context.ip or properties.customer.email, comma-separated: each begins with context, properties or traits",
		read: func(s *Settings, t string) (err error) { s.Redact, err = readRedact(t); return },
		show: func(s *Settings) string { return shown(s.Redact) }},
	{name: "addresses", arg: "HOW", def: "keep", about: "keep or cut: of the IP addresses that SDKs put into events (context.ip, properties.ip, properties.$ip) all is stored, or the network alone, of 24 bits and in IPv6 of 48",
		read: func(s *Settings, t string) (err error) { s.CutAddresses, err = readEither(t, "keep", "cut"); return },
		show: func(s *Settings) string { return either(s.CutAddresses, "keep", "cut") }},
	{name: "visitor-key", arg: "FILE", about: "a file with the key under which ids and tokens of visitors are signed, 32 or more hexadecimal digits, the same for all gateways; further lines are older keys; with it, the gateway serves web offers to pages (deploy/PAGE.md). The variable may also have the keys themselves, separated by commas",
		read: func(s *Settings, t string) (err error) { s.VisitorKeys, err = ReadVisitorKeys(t); return },
		show: func(s *Settings) string { return either(len(s.VisitorKeys) > 0, "", "***") }},
	{name: "unsubscribe-keys", arg: "FILE", about: "keys of unsubscribe links, one a line, as offerctl deliver has them: links under each of them are served; empty: none are",
		read: func(s *Settings, t string) (err error) { s.Unsubscribe, err = readUnsubscribeKeys(t); return },
		show: func(s *Settings) string { return either(s.Unsubscribe != nil, "", "***") }},
}

// readUnsubscribeKeys reads a file of keys.
func readUnsubscribeKeys(name string) (*unsubscribe.Keys, error) {
	if name == "" {
		return nil, nil
	}
	b, err := ReadKeysFile(name)
	if err != nil {
		return nil, err
	}
	return unsubscribe.Parse(string(b))
}

// maxRate is the highest limit of events per second.
const maxRate = 1_000_000

// ExposureFlags adds the settings of an Exposure to a command with flags of its own. add
// is given the name, the default and the description of each, with the name of its value
// in backquotes; env finds variables of the environment.
func ExposureFlags(add func(name, def, about string) *string, env func(name, otherwise string) string) (read func() (Exposure, error)) {
	given := make([]*string, len(exposure))
	for i := range exposure {
		row := &exposure[i]
		given[i] = add(row.name, env(row.inEnv(), row.def), fmt.Sprintf("a `%s`: %s; %s in the environment", row.arg, row.about, row.inEnv()))
	}
	return func() (Exposure, error) {
		s := &Settings{}
		for i := range exposure {
			if err := exposure[i].read(s, *given[i]); err != nil {
				return Exposure{}, fmt.Errorf("--%s: %w", exposure[i].name, err)
			}
		}
		return s.Exposure, nil
	}
}

func readEither(t, no, yes string) (bool, error) {
	switch t {
	case no, yes:
		return t == yes, nil
	}
	return false, fmt.Errorf("%q is neither %s nor %s", t, no, yes)
}

func either(is bool, no, yes string) string {
	if is {
		return yes
	}
	return no
}

// readNetworks reads networks or single addresses, separated by commas.
func readNetworks(t string) (all []netip.Prefix, err error) {
	for one := range strings.SplitSeq(t, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		p, err := netip.ParsePrefix(one)
		if a, bad := netip.ParseAddr(one); bad == nil && a.Zone() == "" {
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("%q is not a network: give its first address and its length, as 203.0.113.0/24 or 2001:db8::/32, or one address", one)
		}
		all = append(all, p)
	}
	return all, nil
}

func joined(networks []netip.Prefix) string {
	var texts []string
	for _, n := range networks {
		texts = append(texts, n.String())
	}
	return strings.Join(texts, ",")
}

// readRedact reads paths of members, separated by commas.
func readRedact(t string) (all [][]string, err error) {
	for one := range strings.SplitSeq(t, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		path := strings.Split(one, ".")
		if slices.Contains(path, "") || !slices.Contains([]string{"context", "properties", "traits"}, path[0]) {
			return nil, fmt.Errorf("%q is not the path of a member: it begins with context, properties or traits, as context.ip or properties.customer.email", one)
		}
		all = append(all, path)
	}
	return all, nil
}

func shown(paths [][]string) string {
	var texts []string
	for _, p := range paths {
		texts = append(texts, strings.Join(p, "."))
	}
	return strings.Join(texts, ",")
}
