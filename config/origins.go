package config

import (
	"fmt"
	"net/url"
	"strings"
)

// readOrigins reads origins of pages, separated by commas: a scheme and a host, with a
// port if it is not the scheme's own, as browsers send them in the header Origin.
func readOrigins(text string) (all []string, err error) {
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		u, err := url.Parse(one)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != one || one != strings.ToLower(one) {
			return nil, fmt.Errorf("%q is not an origin: give scheme and host in small letters, and a port if it is not the usual one, as https://shop.example", one)
		}
		all = append(all, one)
	}
	return all, nil
}
