package deliver

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/template"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/unsubscribe"
)

// A Receiver is where the offers of a channel go.
type Receiver struct {
	Preset   string // a name of Presets
	URL      string // https://HOST/.., or smtp://HOST:PORT or smtps://HOST:PORT
	Template string // instead of the preset's; "": the preset's
	Form     bool   // sms: the body is a form, not JSON
	To       string // the trait with the user's address; "": the preset's

	Secret   *Secret // signs messages, as Standard Webhooks does
	Token    *Secret // a bearer token, or the password for the mail server
	Username string  // for the mail server
	From     string  // the sender of mails

	Unsubscribe     *unsubscribe.Keys // of the links with which users revoke their consent; nil: none are made
	UnsubscribeFrom string            // the address of the gateway that serves them

	AllowPrivate bool // the receiver may be at an address that is not of the internet, and without TLS
}

// A preset says how an offer becomes a message.
type preset struct {
	name        string
	file        string // of the template
	content     string // the type of the body
	trait       string // with the user's address; "": the receiver needs none
	mail        bool
	signed      bool                                              // a secret is required
	bearer      bool                                              // a token is required
	idempotency bool                                              // the header Idempotency-Key has the id too
	judge       func(status int, answer []byte) (string, verdict) // of a status that is not 2xx, 3xx, 429 or 503; nil: again

	text   *template.Template
	traits []string                     // that it reads, and trait
	links  func(*pipeline.Offer) string // to unsubscribe; nil: there are none
}

var presets = []preset{
	{name: "webhook", file: "webhook.tmpl", content: "application/json", signed: true, judge: judgeWebhook},
	{name: "sms", file: "sms.tmpl", content: "application/json", trait: "phone", idempotency: true, judge: judgeSMS},
	{name: "fcm", file: "fcm.tmpl", content: "application/json", trait: "fcm_token", bearer: true, judge: judgeFCM},
	{name: "slack", file: "slack.tmpl", content: "application/json", judge: judgeSlack},
	{name: "smtp", file: "smtp.tmpl", trait: "email", mail: true},
}

// Presets are the names of all presets.
func Presets() (names []string) {
	for _, p := range presets {
		names = append(names, p.name)
	}
	return names
}

func judgeWebhook(status int, _ []byte) (string, verdict) {
	if status == http.StatusGone {
		return reasonGone, gone
	}
	return "", again
}

// judgeSMS: of a gateway for SMS, these statuses are about the one message.
func judgeSMS(status int, _ []byte) (string, verdict) {
	switch status {
	case http.StatusBadRequest, http.StatusGone, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return "", never
	}
	return "", again
}

// judgeFCM: a device that is not registered any more stays so. A 404 or 403 without that
// is of a wrong project or token, which can be put right.
func judgeFCM(status int, answer []byte) (string, verdict) {
	switch {
	case bytes.Contains(answer, []byte(`"UNREGISTERED"`)):
		return "unregistered", never
	case bytes.Contains(answer, []byte(`"SENDER_ID_MISMATCH"`)):
		return "sender_id_mismatch", never
	case status == http.StatusBadRequest:
		return "", never
	}
	return "", again
}

// judgeSlack: 400 is about the message, 410 says that the channel is archived.
func judgeSlack(status int, _ []byte) (string, verdict) {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return "", never
	case http.StatusGone:
		return reasonGone, gone
	}
	return "", again
}

// receive takes the options' receiver.
func (d *Deliverer) receive(o *Options) error {
	r := &o.Receiver
	i := slices.IndexFunc(presets, func(p preset) bool { return p.name == r.Preset })
	if i < 0 {
		return fmt.Errorf("there is no preset %q: it is one of %s", r.Preset, strings.Join(Presets(), ", "))
	}
	p := presets[i]
	if r.To != "" {
		p.trait = r.To
	}
	if r.Form {
		if p.name != "sms" {
			return errors.New("only preset sms can send forms")
		}
		p.file, p.content = "sms.form.tmpl", "application/x-www-form-urlencoded"
	}
	to, err := r.address(&p)
	if err != nil {
		return err
	}
	if p.text, err = readTemplate(&p, r.Template); err != nil {
		return err
	}
	p.traits = slices.Sorted(maps.Keys(traitsIn(p.text)))
	if p.trait != "" && !slices.Contains(p.traits, p.trait) {
		p.traits = append(p.traits, p.trait)
	}
	if p.links, err = r.links(); err != nil {
		return err
	}
	d.preset = &p
	switch {
	case p.signed && r.Secret == nil:
		return fmt.Errorf("preset %s signs messages: give a secret", p.name)
	case p.bearer && r.Token == nil:
		return fmt.Errorf("preset %s needs a token", p.name)
	case !p.mail && (r.From != "" || r.Username != ""):
		return errors.New("a sender and a user name are only for preset smtp")
	}
	if r.Secret != nil {
		if _, err := readKeys(r.Secret.Text()); err != nil {
			return err
		}
	}
	if p.mail {
		d.to, err = newMailer(r, to)
		return err
	}
	d.to = newPoster(r, &p, to, o.Concurrency)
	return nil
}

// address checks the receiver's URL. Errors do not show it: it may be a secret.
func (r *Receiver) address(p *preset) (*url.URL, error) {
	u, err := url.Parse(r.URL)
	schemes := []string{"https", "http"}
	if p.mail {
		schemes = []string{"smtps", "smtp"}
	}
	switch {
	case err != nil || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme):
		return nil, fmt.Errorf("the receiver's URL is none that preset %s can use: give one such as %s://HOST", p.name, schemes[0])
	case u.Scheme == "http" && !r.AllowPrivate:
		return nil, errors.New("the receiver's URL is http, which everybody on the way can read: give https, or --allow-private for a receiver in this network")
	case u.User != nil && p.mail:
		return nil, errors.New("the receiver's URL has a user: give the user and the password by themselves")
	}
	return u, nil
}

// links returns what makes the links with which users revoke their consent.
func (r *Receiver) links() (func(*pipeline.Offer) string, error) {
	if r.Unsubscribe == nil && r.UnsubscribeFrom == "" {
		return nil, nil
	}
	u, err := url.Parse(r.UnsubscribeFrom)
	switch {
	case r.Unsubscribe == nil:
		return nil, errors.New("links to unsubscribe need a key, which the gateway has too")
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !r.AllowPrivate):
		return nil, errors.New("the address of links to unsubscribe is not one of a gateway: give one such as https://events.shop.example")
	}
	base := strings.TrimRight(u.String(), "/") + unsubscribe.Path
	return func(o *pipeline.Offer) string {
		return base + r.Unsubscribe.Token(unsubscribe.Link{User: o.User, Anonymous: o.Anon, Channel: o.Channel})
	}, nil
}

// linked puts the link to unsubscribe where the offer has its placeholder. link is "" if
// it has none.
func (p *preset) linked(o *pipeline.Offer, raw []byte) (_ *pipeline.Offer, _ []byte, link string, err error) {
	place := []byte(unsubscribe.Placeholder)
	switch {
	case !bytes.Contains(raw, place):
		return o, raw, "", nil
	case p.links == nil:
		return nil, nil, "", errors.New("the offer has a link to unsubscribe, and there is no key for it: a message without the link must not go out")
	}
	is := *o
	link = p.links(o) // which needs no escape in JSON
	is.Data = bytes.ReplaceAll(o.Data, place, []byte(link))
	return &is, bytes.ReplaceAll(raw, place, []byte(link)), link, nil
}

// A message is an offer in the form that the receiver takes.
type message struct {
	id   string // the offer's
	to   string
	at   time.Time
	body []byte // of a request

	subject, text, html string // of a mail
	unsubscribe         string // the link to unsubscribe; "": there is none
}

// maxBody is the largest message, in bytes.
const maxBody = 1 << 20

// message makes the message of an offer.
func (p *preset) message(h *held, traits map[string]json.RawMessage, now time.Time) (*message, *failure) {
	o, raw, link, err := p.linked(h.offer, h.raw)
	if err != nil {
		return nil, &failure{reason: reasonUnsubscribe, detail: err.Error(), verdict: never}
	}
	v, err := p.view(o, raw, traits, now)
	if err != nil {
		return nil, &failure{reason: reasonTemplate, detail: err.Error(), verdict: never}
	}
	if p.trait != "" && v.To == "" {
		return nil, &failure{reason: reasonNoAddress, detail: fmt.Sprintf("neither the offer's data has `to` nor the user a trait %s that is a text", p.trait), verdict: never}
	}
	m := &message{id: o.ID, to: v.To, at: now, unsubscribe: link}
	if p.mail {
		err = p.mailOf(m, v)
	} else {
		m.body, err = execute(p.text, v)
	}
	if err != nil {
		return nil, &failure{reason: reasonTemplate, detail: err.Error(), verdict: never}
	}
	return m, nil
}

// execute executes a template.
func execute(t *template.Template, v *view) ([]byte, error) {
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, err
	}
	if b.Len() > maxBody {
		return nil, fmt.Errorf("the message has %d bytes, at most %d can be sent", b.Len(), maxBody)
	}
	return b.Bytes(), nil
}

//go:embed templates/*.tmpl
var templates embed.FS

// A view is what templates see.
type view struct {
	Offer  *pipeline.Offer
	JSON   string         // the offer as it is stored
	Data   any            // the offer's data
	To     string         // the user's address
	TTL    int64          // seconds until the offer expires, at least 1; 0: it never does
	Traits map[string]any // of the user, those that the template names
}

// view makes what templates see of an offer.
func (p *preset) view(o *pipeline.Offer, raw []byte, traits map[string]json.RawMessage, now time.Time) (*view, error) {
	v := &view{Offer: o, JSON: string(raw), Traits: map[string]any{}}
	if err := decode(o.Data, &v.Data); err != nil {
		return nil, fmt.Errorf("the offer's data: %w", err)
	}
	for _, name := range p.traits {
		v.Traits[name] = "" // or a message would say that there is no value
		raw, ok := traits[name]
		if !ok {
			continue
		}
		var is any
		if err := decode(raw, &is); err != nil {
			return nil, fmt.Errorf("trait %s: %w", name, err)
		}
		v.Traits[name] = is
	}
	if e := nanoseconds(o.Expires); e != 0 {
		v.TTL = max((e-now.UnixNano())/int64(time.Second), 1)
	}
	if p.trait != "" {
		v.To = addressIn(v.Data, v.Traits[p.trait])
	}
	return v, nil
}

// maxAddress is the longest address, in bytes.
const maxAddress = 4 << 10

// addressIn is the user's address: `to` of the offer's data, else the trait.
func addressIn(data, trait any) string {
	is := trait
	if m, ok := data.(map[string]any); ok && m["to"] != nil {
		is = m["to"]
	}
	var text string
	switch a := is.(type) {
	case string:
		text = strings.TrimSpace(a)
	case json.Number: // of a telephone
		text = a.String()
	}
	if len(text) > maxAddress || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return ""
	}
	return text
}

// decode decodes JSON, or nothing, with numbers as they are written.
func decode(raw []byte, to *any) error {
	if len(raw) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(to)
}
