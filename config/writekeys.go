package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"offerstream/pipeline/event"
)

// Limits of keys.
const (
	MaxKeys        = 256     // of a gateway; each request is compared with all of them
	maxKeysFile    = 1 << 20 // bytes
	minSecretBytes = 16      // of a key's secret, which signs user tokens
)

// A Key is what a client sends to be allowed to send events. Only its hash is
// kept.
type Key struct {
	Name     string // for messages; not secret
	Hash     [sha256.Size]byte
	Roles    event.Roles
	Verified bool   // identity: verified: a userId counts only with a user token
	Secret   []byte // signs user tokens; nil: the key takes none of this kind
	JWKS     string // the name of a file of public keys, under which user tokens are signed; "": none
	Rate     int    // events per second; 0: any number
}

// KeyOf is a key with a text.
func KeyOf(name, text string, roles event.Roles) Key {
	return Key{Name: name, Hash: sha256.Sum256([]byte(text)), Roles: roles}
}

// Keys are the keys that are given as settings, as --write-key and --server-key. A
// key that is given as both has both roles.
func Keys(write, server []string) ([]Key, error) {
	var keys []Key
	for _, given := range []struct {
		as    string
		texts []string
		role  event.Roles
	}{{"write key", write, event.Browser}, {"server key", server, event.Server}} {
		for i, text := range given.texts {
			if text == "" {
				return nil, fmt.Errorf("an empty %s", given.as)
			}
			k := KeyOf(fmt.Sprintf("%s %d", given.as, i+1), text, given.role)
			if at := keyAt(keys, &k); at >= 0 {
				keys[at].Roles |= k.Roles
				continue
			}
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func keyAt(keys []Key, k *Key) int {
	for i := range keys {
		if keys[i].Hash == k.Hash {
			return i
		}
	}
	return -1
}

// JoinKeys are the keys of the settings and those of a file. One that is in both is
// an error, because it is not clear what it may do.
func JoinKeys(settings, file []Key) ([]Key, error) {
	all := append([]Key{}, settings...)
	for i := range file {
		if at := keyAt(settings, &file[i]); at >= 0 {
			return nil, fmt.Errorf("the key %q of the file is also given as %s: remove it from one of them", file[i].Name, settings[at].Name)
		}
		all = append(all, file[i])
	}
	if len(all) > MaxKeys {
		return nil, fmt.Errorf("there are %d keys; at most %d are allowed", len(all), MaxKeys)
	}
	return all, nil
}

// ReadKeysFile reads the bytes of a file of keys.
func ReadKeysFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKeysFile {
		return nil, fmt.Errorf("%s has %d bytes; a file of keys has at most %d", name, info.Size(), maxKeysFile)
	}
	return os.ReadFile(name)
}

// readKeysFile is the setting --keys: the file's name, if the file can be read.
func readKeysFile(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	b, err := ReadKeysFile(name)
	if err == nil {
		_, err = ParseKeys(name, b)
	}
	return name, err
}

// ParseKeys reads a file of keys, a list such as
//
//	# everybody can read this key in the shop's pages
//	- name: web
//	  key: pk-4f1c                  # or sha256: and the hash of the key in hex
//	  roles: [browser]
//	  identity: verified            # a userId counts only with a user token
//	  secret: 0b0f6a1c9f...         # signs user tokens; the shop's server has it too
//	  jwks: login.json              # or beside it: public keys under which a JWT is signed
//	  rate: 5000                    # events per second, of which a minute's worth may come at once
//	- name: orders
//	  sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//	  roles: [server, feeder]
//
// Errors quote neither keys nor secrets.
func ParseKeys(file string, b []byte) ([]Key, error) {
	_, root, problems := parse(file, b)
	if root == nil {
		for i := range problems {
			if what, _, cut := strings.Cut(problems[i].What, "YAML: "); cut { // what follows, and the hint, may quote a key
				problems[i].What, problems[i].Hint = what+"YAML", "put keys and secrets in quotes"
			}
		}
		return nil, problems
	}
	f := &keysFile{file: file}
	if root.Kind != yaml.SequenceNode {
		f.add(root, "expected a list of keys", "- name: web")
		return nil, f.problems
	}
	var keys []Key
	for _, n := range root.Content {
		k, ok := f.key(n)
		if !ok {
			continue
		}
		for i := range keys {
			if keys[i].Name == k.Name {
				f.add(n, fmt.Sprintf("the name %q appears twice", k.Name), "")
			}
		}
		if at := keyAt(keys, &k); at >= 0 {
			f.add(n, fmt.Sprintf("%q and %q are the same key", keys[at].Name, k.Name), "give one key several roles")
		}
		keys = append(keys, k)
	}
	if len(keys) > MaxKeys {
		f.add(root, fmt.Sprintf("there are %d keys; at most %d are allowed", len(keys), MaxKeys), "")
	}
	if len(f.problems) > 0 {
		return nil, f.problems.sorted()
	}
	return keys, nil
}

// A keysFile reads one file of keys.
type keysFile struct {
	file     string
	problems Errors
}

func (f *keysFile) add(n *yaml.Node, what, hint string) {
	f.problems = append(f.problems, Problem{f.file, n.Line, n.Column, what, hint})
}

// keyFields are the fields of a key.
var keyFields = []string{"name", "key", "sha256", "roles", "identity", "secret", "jwks", "rate"}

// key reads one element of the list.
func (f *keysFile) key(n *yaml.Node) (k Key, ok bool) {
	before := len(f.problems)
	fields, ok := f.fields(n)
	if !ok {
		return k, false
	}
	text := func(field string) string {
		v := fields[field]
		if v == nil {
			return ""
		}
		if v.Kind != yaml.ScalarNode || v.Value == "" || v.Anchor != "" || v.ShortTag() == "!!null" || v.Style&yaml.TaggedStyle != 0 {
			f.add(v, field+" is not a text", "quote it")
			return ""
		}
		return v.Value
	}
	if k.Name = text("name"); fields["name"] == nil {
		f.add(n, "name is missing: messages use it", "name: web")
	}
	key, hash := text("key"), text("sha256")
	switch sum, err := hex.DecodeString(hash); {
	case (fields["key"] == nil) == (fields["sha256"] == nil):
		f.add(n, "give either key or sha256", "")
	case key != "" && !keyForm.MatchString(key):
		f.add(fields["key"], errKeyForm.Error(), "")
	case key != "":
		k.Hash = sha256.Sum256([]byte(key))
	case hash != "" && (err != nil || len(sum) != sha256.Size):
		f.add(fields["sha256"], "it is not a SHA-256 hash: 64 digits of hex", "printf %s KEY | sha256sum")
	default:
		copy(k.Hash[:], sum)
	}
	k.Roles = f.roles(n, fields["roles"])
	if v := text("identity"); v != "" && v != "verified" {
		f.add(fields["identity"], fmt.Sprintf("identity is not %q", v), "identity: verified, or nothing")
	} else {
		k.Verified = v != ""
	}
	if v := text("secret"); v != "" {
		k.Secret = []byte(v)
		if len(v) < minSecretBytes {
			f.add(fields["secret"], fmt.Sprintf("the secret is shorter than %d bytes", minSecretBytes), "openssl rand -hex 32")
		}
	}
	if k.JWKS = text("jwks"); k.JWKS != "" && !filepath.IsAbs(k.JWKS) {
		k.JWKS = filepath.Join(filepath.Dir(f.file), k.JWKS) // beside this file
	}
	if v := text("rate"); v != "" {
		var err error
		if k.Rate, err = readInt(v, 1, maxRate); err != nil {
			f.add(fields["rate"], "rate: "+err.Error(), "events per second; leave it out for any number")
		}
	}
	switch {
	case k.Verified && fields["secret"] == nil && fields["jwks"] == nil:
		f.add(n, "identity: verified needs a secret, or jwks: they sign user tokens", "openssl rand -hex 32")
	case (k.Verified || k.Secret != nil || k.JWKS != "") && k.Roles != 0 && (!k.Roles.Has(event.Browser) || k.Roles.Has(event.Server)):
		f.add(n, "identity, secret and jwks are for keys of role browser without server: a server is trusted without user tokens", "make it two keys")
	}
	return k, len(f.problems) == before
}

// fields are the fields of one element by name.
func (f *keysFile) fields(n *yaml.Node) (map[string]*yaml.Node, bool) {
	if n.Kind != yaml.MappingNode {
		f.add(n, "expected a key: a map", "- {name: web, key: KEY, roles: [browser]}")
		return nil, false
	}
	fields := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, v := n.Content[i], n.Content[i+1]
		known := false
		for _, field := range keyFields {
			known = known || name.Value == field
		}
		switch {
		case !known:
			f.add(name, fmt.Sprintf("a key has no %q", name.Value), didYouMean(name.Value, keyFields))
		case fields[name.Value] != nil:
			f.add(name, fmt.Sprintf("%q appears twice", name.Value), "")
		default:
			fields[name.Value] = v
		}
	}
	return fields, true
}

// roles reads the list of a key's roles.
func (f *keysFile) roles(n, list *yaml.Node) (roles event.Roles) {
	const hint = "roles: [browser], of browser, server, feeder, operator"
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		f.add(n, "roles is not a list of roles", hint)
		return 0
	}
	for _, e := range list.Content {
		r, ok := event.RoleNamed(e.Value)
		if !ok || e.Kind != yaml.ScalarNode {
			f.add(e, "this is not a role", hint)
		}
		roles |= r
	}
	return roles
}

// errKeyForm is an error without the key.
var errKeyForm = errors.New("a key is 1 to 256 visible ASCII characters, without : and ,")
