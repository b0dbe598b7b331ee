package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// A mailer sends messages as mails, each over a connection of its own.
type mailer struct {
	receiver *Receiver
	host     string
	port     int
	from     string
	domain   string // of Message-ID
	implicit bool   // TLS from the beginning

	roots *x509.CertPool // that certificates are checked by, for tests; nil: the system's
}

// Ports of mail servers.
const (
	portSubmission  = 587
	portSubmissions = 465 // with TLS from the beginning
)

func newMailer(r *Receiver, to *url.URL) (*mailer, error) {
	from, err := netmail.ParseAddress(r.From)
	if err != nil {
		return nil, fmt.Errorf("the sender of mails, %q, is not an address: give one such as \"Shop <news@shop.example>\"", r.From)
	}
	if (r.Username == "") != (r.Token == nil) {
		return nil, errors.New("a user of the mail server needs a password, and a password a user")
	}
	s := &mailer{receiver: r, host: to.Hostname(), port: portSubmission, from: from.String(), domain: from.Address[strings.LastIndexByte(from.Address, '@')+1:]}
	if s.implicit = to.Scheme == "smtps"; s.implicit {
		s.port = portSubmissions
	}
	if text := to.Port(); text != "" {
		if s.port, err = strconv.Atoi(text); err != nil {
			return nil, fmt.Errorf("the port of the mail server, %q, is not a number", text)
		}
	}
	_, err = s.client(DefaultTimeout)
	return s, err
}

// client returns a client for one connection.
func (s *mailer) client(timeout time.Duration) (*mail.Client, error) {
	dialer := newDialer(s.receiver.AllowPrivate)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	}
	secure := &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12, RootCAs: s.roots}
	if s.implicit {
		dial = (&tls.Dialer{NetDialer: dialer, Config: secure}).DialContext
	}
	opts := []mail.Option{mail.WithPort(s.port), mail.WithDialContextFunc(dial), mail.WithTimeout(timeout), mail.WithTLSConfig(secure)}
	switch {
	case s.implicit:
		opts = append(opts, mail.WithSSL())
	case s.receiver.AllowPrivate:
		opts = append(opts, mail.WithTLSPolicy(mail.TLSOpportunistic))
	default:
		opts = append(opts, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if s.receiver.Username != "" {
		auth := mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover)
		if s.implicit { // the discovery does not see that a connection of our own dialling is encrypted, and leaves PLAIN and LOGIN out
			auth = mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256PLUS, mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthSCRAMSHA1PLUS, mail.SMTPAuthSCRAMSHA1, mail.SMTPAuthCramMD5, mail.SMTPAuthPlain, mail.SMTPAuthLogin)
		}
		opts = append(opts, auth, mail.WithUsername(s.receiver.Username), mail.WithPassword(s.receiver.Token.Text()))
	}
	c, err := mail.NewClient(s.host, opts...)
	if err != nil {
		return nil, fmt.Errorf("the mail server: %w", err)
	}
	return c, nil
}

func (s *mailer) send(ctx context.Context, m *message) *failure {
	msg := mail.NewMsg()
	if msg.From(s.from) != nil || msg.To(m.to) != nil { // the sender was checked before
		return &failure{reason: reasonNoAddress, detail: "the user's address is not one of mail", verdict: never}
	}
	msg.Subject(m.subject)
	msg.SetMessageIDWithValue(m.id + "@" + s.domain) // the same each time, so that a repetition can be recognised
	msg.SetDateWithValue(m.at)
	msg.SetBodyString(mail.TypeTextPlain, m.text)
	if m.html != "" {
		msg.AddAlternativeString(mail.TypeTextHTML, m.html)
	}
	if m.unsubscribe != "" { // RFC 8058: mail programs show a button of their own, and use it with one POST
		msg.SetGenHeader(mail.HeaderListUnsubscribe, "<"+m.unsubscribe+">")
		msg.SetGenHeader(mail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click")
	}
	deadline, _ := ctx.Deadline()
	c, err := s.client(max(time.Until(deadline), time.Millisecond))
	if err == nil {
		err = c.DialAndSendWithContext(ctx, msg)
	}
	if err == nil || msg.IsDelivered() {
		return nil
	}
	return unmailed(ctx, err)
}

// unmailed is the failure of a mail. A permanent answer to its content or its recipient
// is about this mail.
func unmailed(ctx context.Context, err error) *failure {
	f := unsent(ctx, err)
	var send *mail.SendError
	if errors.As(err, &send) {
		f.reason = "smtp_4xx"
		f.detail, _, _ = strings.Cut(f.detail, ", affected recipient(s)") // not into logs
		if !send.IsTemp() && send.ErrorCode() >= 500 && (send.Reason == mail.ErrSMTPRcptTo || send.Reason == mail.ErrSMTPData || send.Reason == mail.ErrSMTPDataClose) {
			f.reason, f.verdict = "smtp_5xx", never
		}
	}
	return f
}

// mailOf makes the texts of a mail.
func (p *preset) mailOf(m *message, v *view) error {
	for _, part := range [...]struct {
		name string
		to   *string
	}{{"subject", &m.subject}, {"text", &m.text}, {"html", &m.html}} {
		t := p.text.Lookup(part.name)
		if t == nil {
			continue
		}
		b, err := execute(t, v)
		if err != nil {
			return err
		}
		*part.to = strings.TrimSpace(string(b))
	}
	if strings.ContainsAny(m.subject, "\r\n") {
		return errors.New("the subject has more than one line")
	}
	return nil
}
