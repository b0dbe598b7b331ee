package coupon

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// KeySize is the size of a secret in bytes.
const KeySize = 32

// maxKeys is the largest number of keys that Parse reads.
const maxKeys = 64

// A Key is a secret under which codes are made. It prints as its id.
type Key struct {
	id     uint32
	secret [KeySize]byte
}

// NewKey returns the key with a secret, which must be KeySize random bytes.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) != KeySize {
		return nil, fmt.Errorf("a coupon key has %d bytes, this has %d", KeySize, len(secret))
	}
	k := new(Key)
	copy(k.secret[:], secret)
	sum := sha256.Sum256(k.secret[:])
	k.id = binary.BigEndian.Uint32(sum[:])
	return k, nil
}

// ID is the key's id: k and 8 hexadecimal digits. It is not secret. The letter
// keeps YAML from reading an id as a number.
func (k *Key) ID() string { return keyID(k.id) }

func keyID(id uint32) string { return fmt.Sprintf("k%08x", id) }

// Text is the key as Parse reads it. It is secret.
func (k *Key) Text() string { return hex.EncodeToString(k.secret[:]) }

// String is the key's id, so that printing a key does not show its secret.
func (k *Key) String() string { return k.ID() }

// GoString is String, for %#v.
func (k *Key) GoString() string { return "coupon.Key(" + k.ID() + ")" }

// Keys are the keys that a program has. Nil has none.
type Keys struct{ keys []*Key }

// Parse reads keys: one a line, each 64 hexadecimal digits. Empty lines do not
// matter, nor does what follows a # on a line. A comma separates keys as the end of
// a line does, for a list in an environment variable. There are at most 64 keys.
// Errors do not quote secrets.
func Parse(text string) (*Keys, error) {
	ks := new(Keys)
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		for _, one := range strings.Split(line, ",") {
			if err := ks.add(strings.TrimSpace(one)); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
		}
	}
	if len(ks.keys) == 0 {
		return nil, errors.New("there is no coupon key in it")
	}
	return ks, nil
}

func (ks *Keys) add(text string) error {
	secret, err := hex.DecodeString(text)
	if err != nil || len(secret) != KeySize {
		return fmt.Errorf("it is not a coupon key, which is %d hexadecimal digits, as offerctl coupons new-key makes", 2*KeySize)
	}
	k, _ := NewKey(secret)
	switch other := ks.Key(k.ID()); {
	case len(ks.keys) == maxKeys:
		return fmt.Errorf("there are more than %d coupon keys", maxKeys)
	case other == nil:
		ks.keys = append(ks.keys, k)
		return nil
	case other.secret == k.secret:
		return fmt.Errorf("coupon key %s is there twice", k.ID())
	}
	return fmt.Errorf("two coupon keys have the id %s: make another one", k.ID())
}

// Key is the key with an id, nil if there is none.
func (ks *Keys) Key(id string) *Key {
	for _, k := range ks.all() {
		if k.ID() == id {
			return k
		}
	}
	return nil
}

// IDs are the ids of all keys, sorted.
func (ks *Keys) IDs() []string {
	var ids []string
	for _, k := range ks.all() {
		ids = append(ids, k.ID())
	}
	slices.Sort(ids)
	return ids
}

func (ks *Keys) all() []*Key {
	if ks == nil {
		return nil
	}
	return ks.keys
}
