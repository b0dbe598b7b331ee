package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

const (
	readAnswer = 4 << 10  // bytes of an answer that are looked at
	lastAnswer = 64 << 10 // bytes that are read so that the connection can be used again
	shownBytes = 200      // of an answer, in a failure's detail
)

// A transport sends messages to the receiver.
type transport interface {
	send(ctx context.Context, m *message) *failure
}

// poster sends messages as requests of HTTP.
type poster struct {
	preset *preset
	url    string
	client *http.Client
	signer *signer // nil: nothing is signed
	token  *Secret // nil: none
}

func newPoster(r *Receiver, p *preset, to *url.URL, concurrency int) *poster {
	t := &http.Transport{
		DialContext:         newDialer(r.AllowPrivate).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: concurrency,
		IdleConnTimeout:     time.Minute,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
		// No proxy: it would dial where this process must not.
	}
	s := &poster{preset: p, url: to.String(), token: r.Token, client: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // by the specification, a redirect is a failure
	}}}
	if r.Secret != nil {
		s.signer = &signer{secret: r.Secret}
	}
	return s
}

func (s *poster) send(ctx context.Context, m *message) *failure {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(m.body))
	if err != nil {
		return &failure{reason: reasonConnection, detail: bare(err).Error()}
	}
	req.Header.Set("Content-Type", s.preset.content)
	req.Header.Set("User-Agent", "Offerstream")
	req.Header.Set("webhook-id", m.id)
	if s.preset.idempotency {
		req.Header.Set("Idempotency-Key", m.id)
	}
	if s.token != nil {
		req.Header.Set("Authorization", "Bearer "+s.token.Text())
	}
	if s.signer != nil {
		if err := s.signer.sign(req.Header, m.id, m.at, m.body); err != nil {
			return &failure{reason: reasonSecret, detail: err.Error()}
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return unsent(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, readAnswer))
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, lastAnswer))
	}
	if resp.StatusCode/100 == 2 {
		return nil // whatever becomes of the rest of the answer
	}
	if err != nil {
		return unsent(ctx, err)
	}
	return s.refused(resp, answer)
}

// unsent is the failure of a request without an answer.
func unsent(ctx context.Context, err error) *failure {
	f := &failure{reason: reasonConnection, detail: bare(err).Error()}
	switch {
	case errors.Is(err, errPrivate):
		f.reason = reasonPrivate
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		f.reason, f.detail = reasonTimeout, "the receiver has not answered in time"
	}
	return f
}

// bare is the error without the address, which may be a secret.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refused is the failure of a request with an answer that is not 2xx.
func (s *poster) refused(resp *http.Response, answer []byte) *failure {
	f := &failure{reason: fmt.Sprintf("http_%dxx", resp.StatusCode/100), detail: fmt.Sprintf("HTTP %d: %s", resp.StatusCode, shown(answer))}
	switch status := resp.StatusCode; {
	case status/100 == 3:
		f.detail = fmt.Sprintf("HTTP %d: redirects are not followed: give the address where the receiver is now", status)
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		f.reason = fmt.Sprintf("http_%d", status)
		f.after = retryAfter(resp.Header, time.Now())
	case s.preset.judge != nil:
		if reason, v := s.preset.judge(status, answer); v != again {
			f.verdict = v
			if reason != "" {
				f.reason = reason
			}
		}
	}
	return f
}

// shown is the beginning of an answer, on one line.
func shown(answer []byte) string {
	text := strings.ToValidUTF8(string(answer[:min(len(answer), shownBytes)]), "?")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text))
}
