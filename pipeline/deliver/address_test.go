package deliver

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestPublic: which addresses messages may be sent to.
func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"93.184.216.34": true, "8.8.8.8": true, "172.15.255.255": true, "172.32.0.0": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.9.9.9": false, "10.1.2.3": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.0.1": false, "169.254.169.254": false,
		"0.0.0.0": false, "0.1.2.3": false, "100.64.0.1": false, "192.0.0.8": false, "198.18.0.1": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:100.64.0.1": false, "::ffff:0.1.2.3": false, "::ffff:240.0.0.1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd12::1": false, "ff02::1": false,
		"64:ff9b::7f00:1": false, "2002:7f00:1::": false, "fec0::1": false, "2001::1": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: public is %v, want %v", text, got, want)
		}
	}
}

// TestPrivate: a receiver at a private address gets nothing, whatever its name is, and
// neither does one behind a redirect.
func TestPrivate(t *testing.T) {
	to := receive(t, nil)
	port := to.URL[strings.LastIndexByte(to.URL, ':'):]
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"} {
		d, err := New(Options{Channel: "push", Receiver: Receiver{Preset: "webhook", URL: "https://" + host + port, Secret: SecretText(key)}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		fail := d.to.send(ctx, &message{id: "1", at: time.Now()})
		cancel()
		if fail == nil || fail.verdict != again || fail.reason != reasonPrivate && host != "2130706433" {
			t.Errorf("%s: %+v", host, fail)
		}
	}
	if n := len(to.got()); n > 0 {
		t.Errorf("%d requests came", n)
	}
	from := receive(t, func(w http.ResponseWriter, _ got, _ int) {
		w.Header().Set("Location", to.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	d, err := New(Options{Channel: "push", Receiver: Receiver{Preset: "webhook", URL: from.URL, Secret: SecretText(key), AllowPrivate: true}})
	if err != nil {
		t.Fatal(err)
	}
	if fail := d.to.send(t.Context(), &message{id: "1", at: time.Now()}); fail == nil || fail.reason != "http_3xx" || len(to.got()) > 0 {
		t.Errorf("a redirect: %+v, %d requests came", fail, len(to.got()))
	}
	if _, err := newDialer(false).DialContext(t.Context(), "tcp", "localhost"+port); !errors.Is(err, errPrivate) {
		t.Errorf("a mail server: %v", err)
	}
}

// TestSecretURL: errors and logs do not show the receiver's URL.
func TestSecretURL(t *testing.T) {
	d, err := New(Options{Channel: "push", Receiver: Receiver{Preset: "slack", URL: "https://127.0.0.1:1/services/T0/SECRET", AllowPrivate: true}})
	if err != nil {
		t.Fatal(err)
	}
	m, fail := d.preset.message(&held{offer: offerOf("1", "ada")}, nil, time.Now())
	if fail != nil {
		t.Fatal(fail)
	}
	if fail := d.to.send(t.Context(), m); fail == nil || fail.reason != reasonConnection || strings.Contains(fail.detail, "SECRET") {
		t.Errorf("%+v", fail)
	}
	for _, bad := range []string{"https://x/SECRET\x7f", "ftp://x/SECRET", "https:///SECRET", "http://x.example/SECRET"} {
		if _, err := New(Options{Channel: "push", Receiver: Receiver{Preset: "slack", URL: bad}}); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
