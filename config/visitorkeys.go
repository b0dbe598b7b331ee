package config

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"offerstream/pipeline/lazyregexp"
)

const (
	leastVisitorKey = 16 // bytes
	mostVisitorKeys = 8
	makeVisitorKey  = "make one with `openssl rand -hex 32`"
)

// visitorKeyLike matches what was meant as keys and not as the name of a file.
var visitorKeyLike = lazyregexp.New(`^[\s,]*[0-9A-Fa-f]{24,}`)

// ReadVisitorKeys reads the value of visitor-key: the name of a file of keys, or the keys
// themselves, each at least 32 hexadecimal digits, on lines of their own or with commas
// between them. It returns nil for an empty one. Errors do not quote secrets.
func ReadVisitorKeys(t string) ([][]byte, error) {
	switch {
	case t == "":
		return nil, nil
	case visitorKeyLike.MatchString(t):
		return parseVisitorKeys(t)
	}
	b, err := os.ReadFile(t)
	if err != nil {
		return nil, err
	}
	keys, err := parseVisitorKeys(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return keys, nil
}

func parseVisitorKeys(text string) (keys [][]byte, err error) {
	for _, one := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		key, err := hex.DecodeString(one)
		if err != nil || len(key) < leastVisitorKey {
			return nil, fmt.Errorf("key %d is not %d or more hexadecimal digits: %s", len(keys)+1, 2*leastVisitorKey, makeVisitorKey)
		}
		keys = append(keys, key)
	}
	switch {
	case len(keys) == 0:
		return nil, fmt.Errorf("there is no key: %s", makeVisitorKey)
	case len(keys) > mostVisitorKeys:
		return nil, fmt.Errorf("there are %d keys, at most %d are taken: remove those that have signed nothing for 90 days", len(keys), mostVisitorKeys)
	}
	return keys, nil
}
