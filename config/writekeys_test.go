package config

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"offerstream/pipeline/event"
)

func TestParseKeys(t *testing.T) {
	secret := "0123456789abcdef"
	hash := fmt.Sprintf("%X", sha256.Sum256([]byte("k2")))
	keys, err := ParseKeys("keys.yaml", []byte(`
# two keys
- name: web
  key: pk-1
  roles: [browser]
  identity: verified
  secret: `+secret+`
- {name: orders, sha256: `+hash+`, roles: [server, feeder, operator]}
- {name: number, key: 0123, roles: [browser, server]}
`))
	web := KeyOf("web", "pk-1", event.Browser)
	web.Verified, web.Secret = true, []byte(secret)
	want := []Key{web, KeyOf("orders", "k2", event.Server|event.Feeder|event.Operator), KeyOf("number", "0123", event.Browser|event.Server)}
	if err != nil || !reflect.DeepEqual(keys, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, keys, want)
	}
	const rest = `, roles: [browser]}`
	for text, want := range map[string]string{
		``:                                      "the file is empty",
		`{name: web}`:                           "k.yaml:1:1: expected a list of keys",
		`[web]`:                                 "k.yaml:1:2: expected a key: a map",
		`[{key: s3cret` + rest + `]`:            "name is missing",
		`[{name: [a], key: s3cret` + rest + `]`: "name is not a text",
		`[{name: a` + rest + `]`:                "give either key or sha256",
		`[{name: a, key: s3cret, sha256: ` + hash + rest + `]`:                                 "give either key or sha256",
		`[{name: a, key: "s3cret:"` + rest + `]`:                                               "k.yaml:1:17: a key is 1 to 256 visible ASCII characters",
		`[{name: a, key: *s3cret` + rest + `]`:                                                 "this is not YAML: put keys and secrets in quotes",
		`[{name: a, key: !s3cret x` + rest + `]`:                                               "key is not a text",
		`[{name: a, key: &s3cret x` + rest + `]`:                                               "key is not a text",
		`[{name: a, key: ` + rest + `]`:                                                        "key is not a text",
		`[{name: a, key: ""` + rest + `]`:                                                      "key is not a text",
		`[{name: a, sha256: s3cret` + rest + `]`:                                               "it is not a SHA-256 hash",
		`[{name: a, sha256: ` + hash[2:] + rest + `]`:                                          "it is not a SHA-256 hash",
		`[{name: a, key: s3cret}]`:                                                             "roles is not a list of roles",
		`[{name: a, key: s3cret, roles: browser}]`:                                             "roles is not a list of roles",
		`[{name: a, key: s3cret, roles: []}]`:                                                  "roles is not a list of roles",
		`[{name: a, key: s3cret, roles: [browser, admin]}]`:                                    "k.yaml:1:42: this is not a role",
		`[{name: a, key: s3cret, role: [browser]` + rest + `]`:                                 `a key has no "role": did you mean "roles"?`,
		`[{name: a, key: s3cret, key: s3cret` + rest + `]`:                                     `"key" appears twice`,
		`[{name: a, key: s3cret, identity: yes` + rest + `]`:                                   `identity is not "yes"`,
		`[{name: a, key: s3cret, identity: verified` + rest + `]`:                              "identity: verified needs a secret",
		`[{name: a, key: x, secret: s3cret` + rest + `]`:                                       "the secret is shorter than 16 bytes",
		`[{name: a, key: x, secret: s3cret-s3cret-s3cret, roles: [server]}]`:                   "are for keys of role browser without server",
		`[{name: a, key: x, secret: s3cret-s3cret-s3cret, roles: [browser, server]}]`:          "are for keys of role browser without server",
		`[{name: a, key: s3cret` + rest + `, {name: a, key: x` + rest + `]`:                    `the name "a" appears twice`,
		`[{name: a, key: s3cret` + rest + `, {name: b, key: s3cret` + rest + `]`:               `"a" and "b" are the same key`,
		`[{name: a, key: s3cret, roles: [browser], rate: 0}]`:                                  `rate: "0" is not a whole number from 1`,
		strings.Repeat("- {name: a, key: s3cret, roles: [browser]}\n", MaxKeys+1):              "there are 257 keys; at most 256",
		`[{name: a, key: s3cret` + rest + `, {name: b, sha256: ` + strings.ToLower(hash) + `}`: "this is not YAML",
	} {
		_, err := ParseKeys("k.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%.100s: %v, want %q", text, err, want)
		}
	}
}

// TestKeys: a key that is given as a write key and as a server key has both roles;
// one that is in the file too is an error.
func TestKeys(t *testing.T) {
	keys, err := Keys([]string{"a", "b", "a"}, []string{"b", "c"})
	if want := []Key{KeyOf("write key 1", "a", event.Browser), KeyOf("write key 2", "b", event.Browser|event.Server), KeyOf("server key 2", "c", event.Server)}; err != nil || !reflect.DeepEqual(keys, want) {
		t.Errorf("%+v, %v", keys, err)
	}
	if all, err := JoinKeys(keys, []Key{KeyOf("x", "d", event.Feeder)}); err != nil || len(all) != 4 {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := JoinKeys(keys, []Key{KeyOf("x", "b", event.Feeder)}); err == nil || !strings.Contains(err.Error(), `"x" of the file is also given as write key 2`) {
		t.Errorf("the same key twice: %v", err)
	}
}

// TestKeySettings: any of the three kinds of keys will do.
func TestKeySettings(t *testing.T) {
	file, broken := write(t, "keys.yaml", "- {name: a, key: b, roles: [browser]}"), write(t, "broken.yaml", "- {name: a, key: b, roles: [king]}")
	for args, ok := range map[string]bool{"": false, "--write-key a": true, "--server-key a,b": true, "--keys " + file: true, "--server-key=": false, "--keys=": false, "--keys nowhere.yaml": false, "--keys " + broken: false, "--server-key a:b": false} {
		s, err := Gateway(strings.Fields(args), nil, nil)
		if (err == nil) != ok || ok && strings.Contains(fmt.Sprint(s.Effective()), "=a") {
			t.Errorf("%s: %v", args, err)
		}
		if args == "" && (err == nil || err.Error() != "write-key is required: --write-key KEY, OFFERSTREAM_WRITE_KEY or write_key in the file; or else server-key or keys") {
			t.Errorf("without a key: %v", err)
		}
	}
	s, err := Gateway(nil, []string{"OFFERSTREAM_SERVER_KEY=a, b", "OFFERSTREAM_KEYS=" + file}, nil)
	if err != nil || !reflect.DeepEqual(s.ServerKeys, []string{"a", "b"}) || s.KeysFile != file {
		t.Errorf("%+v, %v", s, err)
	}
}
