package ingest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateEvery is how often the files of the certificate are looked at, at most, to
// see whether they have changed.
const certificateEvery = time.Second

// A certificate is read from files, and read again when they change: certificates are
// renewed every few weeks, and a restart for it would be forgotten.
type certificate struct {
	cert, key string // the files' names
	log       *slog.Logger

	mu     sync.Mutex
	looked time.Time
	times  [2]time.Time // when the files were changed, as they were read
	pair   *tls.Certificate
	failed string // the error that was last logged
}

// newCertificate reads a certificate with its chain and its key from PEM files. Both or
// none are given; with none it is nil.
func newCertificate(cert, key string, log *slog.Logger) (*certificate, error) {
	switch {
	case cert == "" && key == "":
		return nil, nil
	case cert == "" || key == "":
		return nil, errors.New("a certificate needs its key: give both files, or none")
	}
	c := &certificate{cert: cert, key: key, log: log}
	return c, c.read()
}

// read reads the files if they have changed.
func (c *certificate) read() error {
	var times [2]time.Time
	for i, name := range [...]string{c.cert, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		times[i] = info.ModTime()
	}
	if times == c.times {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.times, c.pair = times, &pair
	return nil
}

// get is the certificate for a new connection. While the files cannot be read, it is the
// one that was.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= certificateEvery {
		c.looked = now
		was := c.pair
		switch err := c.read(); {
		case err != nil && err.Error() != c.failed:
			c.failed = err.Error()
			c.log.Error("the certificate cannot be read; the one before stays", "error", err)
		case err == nil && c.pair != was:
			c.failed = ""
			c.log.Info("certificate read again", "file", c.cert)
		}
	}
	return c.pair, nil
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
}
