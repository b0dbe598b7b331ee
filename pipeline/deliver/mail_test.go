package deliver

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"offerstream/pipeline/unsubscribe"
)

// A postOffice is a mail server that keeps what it gets, and answers RCPT TO as it is
// told.
type postOffice struct {
	net.Listener
	mu    sync.Mutex
	rcpt  func(address string, n int) string // n: how often it came; "": it is taken
	seen  map[string]int
	mails []string
	auth  []string

	tls   *tls.Config // it offers STARTTLS, and AUTH only then; nil: it does not
	plain int         // mails that came without TLS
}

func openPostOffice(t *testing.T, rcpt func(string, int) string, change ...func(*postOffice)) *postOffice {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &postOffice{Listener: l, rcpt: rcpt, seen: map[string]int{}}
	t.Cleanup(func() { l.Close() })
	for _, c := range change {
		c(o)
	}
	go func() {
		for {
			c, err := o.Accept()
			if err != nil {
				return
			}
			go o.serve(c)
		}
	}()
	return o
}

func (o *postOffice) serve(c net.Conn) {
	defer c.Close()
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("220 post.example ESMTP")
	in, plain := bufio.NewReader(c), true
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		switch verb := strings.ToUpper(strings.Fields(line + " x")[0]); verb {
		case "EHLO":
			offer := "AUTH PLAIN"
			if o.tls != nil && plain {
				offer = "STARTTLS"
			}
			say("250-post.example\r\n250-8BITMIME\r\n250 %s", offer)
		case "STARTTLS":
			say("220 go on")
			secure := tls.Server(c, o.tls)
			if secure.Handshake() != nil {
				return
			}
			c, in, plain = secure, bufio.NewReader(secure), false
		case "AUTH":
			o.mu.Lock()
			o.auth = append(o.auth, line)
			o.mu.Unlock()
			say("235 ok")
		case "RCPT":
			address := line[strings.IndexByte(line, '<')+1 : strings.IndexByte(line, '>')]
			o.mu.Lock()
			o.seen[address]++
			answer := ""
			if o.rcpt != nil {
				answer = o.rcpt(address, o.seen[address])
			}
			o.mu.Unlock()
			if answer == "" {
				answer = "250 ok"
			}
			say("%s", answer)
		case "DATA":
			say("354 go on")
			var b strings.Builder
			for {
				l, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				b.WriteString(strings.TrimPrefix(l, "."))
			}
			o.mu.Lock()
			o.mails = append(o.mails, b.String())
			if plain {
				o.plain++
			}
			o.mu.Unlock()
			say("250 stored")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// TestMail sends offers as mails: to the trait, with a Message-ID that is the same each
// time. What the server refuses for good is given up, what it refuses for now is not.
func TestMail(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	post := openPostOffice(t, func(address string, n int) string {
		switch {
		case address == "nobody@x.example":
			return "550 5.1.1 no such user"
		case address == "bob@x.example" && n == 1:
			return "450 4.2.1 later"
		}
		return ""
	})
	d.say(traitsOf(map[string]string{"email": `"Ada <ada@x.example>"`}))
	o := offerOf("ada-1", "ada")
	o.Data = json.RawMessage(`{"title":"Täschchen\u00a0für Sie","text":"Hello,\n.\nbags","html":"<p>bags</p>","stop":"` + unsubscribe.Placeholder + `"}`)
	keys, err := unsubscribe.Parse("0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	d.offer(o)
	for user, to := range map[string]string{"bob": "bob@x.example", "nobody": "nobody@x.example", "bad": "a@x.example, b@x.example"} {
		o := offerOf(user+"-1", user)
		o.Data = json.RawMessage(fmt.Sprintf(`{"to":%q,"title":"x","text":"y"}`, to))
		d.offer(o)
	}
	r := d.start(Options{Receiver: Receiver{Preset: "smtp", URL: "smtp://" + post.Addr().String(), From: "Shop <news@shop.example>", Unsubscribe: keys, UnsubscribeFrom: "https://events.shop.example"}})
	await(t, "all have ended", func() bool { return r.metric("sent_total", "") == 2 && r.metric("failed_total", "") == 2 })
	if r.metric("retries_total", "smtp_4xx") != 1 || r.metric("failed_total", "smtp_5xx") != 1 || r.metric("failed_total", "no_address") != 1 || len(d.dead()) != 1 || !strings.Contains(d.dead()[0], "no such user") {
		t.Errorf("dead %q\n%s", d.dead(), r.log)
	}
	post.mu.Lock()
	defer post.mu.Unlock()
	if strings.Contains(r.log.String(), "@x.example") {
		t.Errorf("the log has addresses\n%s", r.log)
	}
	if len(post.mails) != 2 {
		t.Fatalf("%d mails", len(post.mails))
	}
	for _, text := range post.mails {
		m, err := netmail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		h := m.Header
		if h.Get("From") != `"Shop" <news@shop.example>` || h.Get("Date") == "" {
			t.Errorf("%v", h)
		}
		if h.Get("Message-ID") != "<ada-1@shop.example>" {
			if h.Get("List-Unsubscribe") != "" {
				t.Error("a mail without a link has one in its header")
			}
			continue
		}
		token, _ := strings.CutPrefix(strings.Trim(h.Get("List-Unsubscribe"), "<>"), "https://events.shop.example/v1/unsubscribe/")
		if l, ok := keys.Open(token); !ok || l != (unsubscribe.Link{User: "ada", Channel: "push"}) || h.Get("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click" {
			t.Errorf("%q and %q", h.Get("List-Unsubscribe"), h.Get("List-Unsubscribe-Post"))
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
		if err != nil || subject != "Täschchen\u00a0für Sie" || h.Get("To") != `"Ada" <ada@x.example>` {
			t.Errorf("subject %q, to %q: %v", subject, h.Get("To"), err)
		}
		_, params, err := mime.ParseMediaType(h.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for mr := multipart.NewReader(m.Body, params["boundary"]); ; {
			p, err := mr.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(p)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, strings.ReplaceAll(string(b), "\r\n", "\n"))
		}
		if len(parts) != 2 || parts[0] != "Hello,\n.\nbags" || parts[1] != "<p>bags</p>" {
			t.Errorf("parts %q", parts)
		}
	}
}

// TestMailTLS: without --allow-private a mail server must speak TLS, and with smtps it
// must from the beginning; an injected header is refused.
func TestMailTLS(t *testing.T) {
	post := openPostOffice(t, nil)
	m := &message{id: "1", to: "ada@x.example", subject: "s", text: "t", at: time.Now()}
	for scheme, want := range map[string]string{"smtp": "", "smtps": "tls: first record does not look like a TLS handshake"} {
		d, err := New(Options{Channel: "email", Receiver: Receiver{Preset: "smtp", URL: scheme + "://" + post.Addr().String(), From: "a@shop.example", AllowPrivate: true}})
		if err != nil {
			t.Fatal(err)
		}
		if fail := d.to.send(limited(t), m); (fail == nil) != (want == "") || fail != nil && !strings.Contains(fail.detail, want) {
			t.Errorf("%s: %+v, want %s", scheme, fail, want)
		}
	}
	d, err := New(Options{Channel: "email", Receiver: Receiver{Preset: "smtp", URL: "smtp://" + post.Addr().String(), From: "a@shop.example"}})
	if err != nil {
		t.Fatal(err)
	}
	if fail := d.to.send(limited(t), m); fail == nil || fail.reason != reasonPrivate {
		t.Errorf("to a private address: %+v", fail)
	}
	d, err = New(Options{Channel: "email", Receiver: Receiver{Preset: "smtp", URL: "smtp://" + post.Addr().String(), From: "a@shop.example", AllowPrivate: true, Username: "u", Token: SecretText("p")}})
	if err != nil {
		t.Fatal(err)
	}
	if fail := d.to.send(limited(t), m); fail == nil || len(post.auth) > 0 {
		t.Errorf("a password without TLS: %+v, sent %q", fail, post.auth)
	}
	d, err = New(Options{Channel: "email", Receiver: Receiver{Preset: "smtp", URL: "smtp://post.example", From: "a@shop.example"}})
	if err != nil {
		t.Fatal(err)
	}
	s := d.to.(*mailer)
	c, err := s.client(time.Second)
	if err != nil || c.TLSPolicy() != "TLSMandatory" {
		t.Errorf("TLS is %s, %v", c.TLSPolicy(), err)
	}
	o := offerOf("1", "ada")
	o.Data = json.RawMessage(`{"to":"a@x.example","title":"a\r\nBcc: b@x.example","text":"x"}`)
	if _, fail := d.preset.message(&held{offer: o}, nil, time.Now()); fail == nil || !strings.Contains(fail.detail, "more than one line") {
		t.Errorf("a header in the subject: %+v", fail)
	}
	if len(post.mails) != 1 {
		t.Errorf("%d mails", len(post.mails))
	}
}

// certificate is one for localhost, and a pool that has it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, of, of, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k}}}, pool
}

// TestMailCertificate: with a certificate that is trusted and has the server's name, mail and
// password go over TLS, by STARTTLS or from the beginning. Else nothing goes out, also where
// a server without TLS would be allowed, and it is tried again.
func TestMailCertificate(t *testing.T) {
	config, trusted := certificate(t)
	starts := openPostOffice(t, nil, func(o *postOffice) { o.tls = config })
	begins := openPostOffice(t, nil, func(o *postOffice) { o.Listener = tls.NewListener(o.Listener, config) })
	m := &message{id: "1", to: "ada@x.example", subject: "s", text: "t", at: time.Now()}
	for _, c := range []struct {
		name, scheme, host string
		roots              *x509.CertPool
		want               string // in the failure's detail; "": the mail is sent
	}{
		{"trusted", "smtp", "localhost", trusted, ""},
		{"trusted", "smtps", "localhost", trusted, ""},
		{"another name", "smtp", "127.0.0.1", trusted, "cannot validate certificate for 127.0.0.1"},
		{"another name", "smtps", "127.0.0.1", trusted, "cannot validate certificate for 127.0.0.1"},
		{"not trusted", "smtp", "localhost", x509.NewCertPool(), "certificate signed by unknown authority"},
		{"not trusted", "smtps", "localhost", x509.NewCertPool(), "certificate signed by unknown authority"},
	} {
		post := starts
		if c.scheme == "smtps" {
			post = begins
		}
		url := fmt.Sprintf("%s://%s:%d", c.scheme, c.host, post.Addr().(*net.TCPAddr).Port)
		d, err := New(Options{Channel: "email", Receiver: Receiver{Preset: "smtp", URL: url, From: "a@shop.example", AllowPrivate: true, Username: "u", Token: SecretText("p")}})
		if err != nil {
			t.Fatal(err)
		}
		d.to.(*mailer).roots = c.roots
		post.mu.Lock()
		mails, auth := len(post.mails), len(post.auth)
		post.mu.Unlock()
		fail := d.to.send(limited(t), m)
		post.mu.Lock()
		sent := len(post.mails) - mails
		switch {
		case (fail == nil) != (c.want == ""), sent == 1 != (fail == nil), len(post.auth)-auth != sent:
			t.Errorf("%s, %s: %+v, %d mails and %d passwords are sent", c.name, c.scheme, fail, sent, len(post.auth)-auth)
		case fail != nil && (!strings.Contains(fail.detail, c.want) || fail.reason != reasonConnection || fail.verdict != again):
			t.Errorf("%s, %s: %+v, want %s", c.name, c.scheme, fail, c.want)
		}
		post.mu.Unlock()
	}
	if starts.plain != 0 {
		t.Errorf("%d mails went without TLS", starts.plain)
	}
}
