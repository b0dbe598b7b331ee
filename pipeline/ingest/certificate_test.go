package ingest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"offerstream/config"
)

// certify writes a certificate for 127.0.0.1 and its key, as of a time of change.
func certify(t *testing.T, cert, key string, serial int64, changed time.Time) *x509.CertPool {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, of, of, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: private}} {
		text := pem.EncodeToMemory(block)
		pool.AppendCertsFromPEM(text)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

// TestHTTPS: events are received by HTTPS and HTTP/2; a new certificate is used for the
// next connection, and one that cannot be read changes nothing.
func TestHTTPS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	now := time.Now()
	pool := certify(t, cert, key, 1, now.Add(-time.Hour))
	log := newFakeLog(1)
	var out bytes.Buffer
	g := newGateway(t, log, func(o *Options) { o.TLSCert, o.TLSKey, o.Logger = cert, key, slog.New(slog.NewTextHandler(&out, nil)) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, l) }()
	send := func(pool *x509.CertPool) (serial int64, err error) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
		defer client.CloseIdleConnections()
		req, _ := http.NewRequestWithContext(t.Context(), "POST", "https://"+l.Addr().String()+"/v1/track", strings.NewReader(good))
		req.SetBasicAuth(testKey, "")
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
			t.Errorf("%s over %s", resp.Status, resp.Proto)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64(), nil
	}
	check := func(pool *x509.CertPool, want int64) {
		t.Helper()
		g.certificate.mu.Lock()
		g.certificate.looked = time.Time{}
		g.certificate.mu.Unlock()
		if got, err := send(pool); err != nil || got != want {
			t.Errorf("certificate %d, want %d: %v", got, want, err)
		}
	}
	check(pool, 1)
	renewed := certify(t, cert, key, 2, now)
	check(renewed, 2)
	if _, err := send(pool); err == nil {
		t.Error("the certificate before is still used")
	}
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(renewed, 2)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := out.String(); strings.Count(text, "certificate read again") != 1 || strings.Count(text, "the certificate cannot be read") != 1 {
		t.Errorf("the log is\n%s", text)
	}
	for _, files := range [][2]string{{cert, ""}, {"", key}, {cert, key}, {"no such file", key}} {
		if _, err := New(Options{Log: log, WriteKeys: []string{"k"}, Exposure: config.Exposure{TLSCert: files[0], TLSKey: files[1]}}); err == nil {
			t.Errorf("a gateway starts with %q", files)
		}
	}
}
