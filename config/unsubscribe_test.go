package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnsubscribe: a link to unsubscribe is refused where there is no consent that it
// could revoke.
func TestUnsubscribe(t *testing.T) {
	for text, fine := range map[string]bool{
		`policies: {consent: {email: required}, quiet_hours: none}`:            true,
		`policies: {consent: {email: none}, quiet_hours: none}`:                false,
		`policies: {consent: {email: none, sms: required}, quiet_hours: none}`: false,
		`policies: {consent: none, quiet_hours: none}`:                         false,
	} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte("version: 1\n"+text+"\ncampaigns: {c: {on: View, offer: {channel: email, data: {text: \"{{ unsubscribe_url }}\"}}}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadCampaigns(path)
		if fine != (err == nil) || !fine && !strings.Contains(err.Error(), "unsubscribe_url is known in templates of an offer whose channel has `consent: required`") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestUnsubscribeKeys: the gateway reads the keys of links from a file, and shows none.
func TestUnsubscribeKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Gateway([]string{"--write-key=k", "--unsubscribe-keys=" + path}, nil, nil)
	if err != nil || s.Unsubscribe == nil {
		t.Fatal(err)
	}
	for _, a := range s.Effective() {
		if a.Key == "unsubscribe_keys" && a.Value.String() != "***" {
			t.Errorf("it shows %s", a.Value)
		}
	}
	if _, err := Gateway([]string{"--write-key=k", "--unsubscribe-keys=" + path + "x"}, nil, nil); err == nil {
		t.Error("a file that is not there is read")
	}
}
