package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/deliver"
	"offerstream/pipeline/unsubscribe"
)

// deliverFlags are what deliver is told.
type deliverFlags struct {
	opt                                    deliver.Options
	url, urlFile, template, secret, token  string
	start, report, keyFile, metrics, links string
}

// deliverOffers is `offerctl deliver`.
func deliverOffers(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "deliver --channel C (--url URL | --url-file FILE) [--preset webhook|sms|fcm|slack|smtp] [--nats URL]", `
Sends the offers of a channel to a receiver until Ctrl-C, each at least once, and goes
on where it was when it is started again. deploy/SENDERS.md has all about it.

Before each attempt the worker that owns the user's partition says whether the offer
may go out now: by the user's consent, quiet hours, what is paused, and the expiry.
Without its answer the offer waits. Offers of one user go out in order. What fails is
tried again, later each time; what is given up becomes a dead letter (offerctl
deadletters list). With --letters these are sent again, for the same channel and to the
same receiver, after which the command ends.

  webhook  {"type", "timestamp", "data": the offer}, signed as Standard Webhooks does
  sms      {"to", "text"}, or a form, to a gateway for SMS
  fcm      Firebase Cloud Messaging, HTTP v1: https://fcm.googleapis.com/v1/projects/ID/messages:send
  slack    {"text"}
  smtp     a mail, over smtp://HOST:587 (STARTTLS) or smtps://HOST:465

Secrets are in files, which are read again when they change, or in the environment:
OFFERSTREAM_DELIVER_URL, OFFERSTREAM_DELIVER_SECRET, OFFERSTREAM_DELIVER_TOKEN and
OFFERSTREAM_SERVER_KEY.`,
		"offerctl deliver --channel push --url https://push.shop.example/offers --secret-file push.secret --nats nats://127.0.0.1:4222\nofferctl deliver --letters --channel push --url https://push.shop.example/offers --secret-file push.secret --nats nats://127.0.0.1:4222")
	n := fs.nats()
	var f deliverFlags
	o, r := &f.opt, &f.opt.Receiver
	fs.StringVar(&o.Channel, "channel", "", "the channel, `C`")
	fs.StringVar(&r.Preset, "preset", "webhook", "the form of the messages: webhook, sms, fcm, slack or smtp; `P`")
	fs.StringVar(&f.url, "url", "", "the receiver's `URL`, if it is no secret")
	fs.StringVar(&f.urlFile, "url-file", "", "a `FILE` with the receiver's URL")
	fs.StringVar(&f.template, "template", "", "a `FILE` with a template (Go's text/template) instead of the preset's")
	fs.StringVar(&o.Name, "name", "", "the `NAME` of the durable consumer, which remembers what was sent (default deliver-CHANNEL-PRESET)")
	fs.StringVar(&f.start, "start", "all", "where a new consumer begins, `WHERE`: all that is stored, or new")
	fs.BoolVar(&o.Letters, "letters", false, "send the dead letters of this sender again, then end")
	fs.StringVar(&f.secret, "secret-file", "", "a `FILE` with the keys that sign the messages, whsec_..., one a line")
	fs.StringVar(&f.token, "token-file", "", "a `FILE` with the bearer token for the receiver, or the password for the mail server")
	fs.StringVar(&r.Username, "username", "", "smtp: the `NAME` for the mail server")
	fs.StringVar(&r.From, "from", "", "smtp: the sender's `ADDRESS`, such as \"Shop <news@shop.example>\"")
	fs.StringVar(&r.To, "to", "", "the `TRAIT` with the user's address, where the offer's data has no `to` (default by preset: phone, fcm_token, email)")
	fs.BoolVar(&r.Form, "form", false, "sms: send a form instead of JSON")
	fs.BoolVar(&r.AllowPrivate, "allow-private", false, "the receiver may be at a private address, and without TLS")
	fs.Float64Var(&o.Rate, "rate", 0, "at most `N` attempts a second; 0: any")
	fs.IntVar(&o.Concurrency, "concurrency", deliver.DefaultConcurrency, "at most `N` attempts at a time")
	fs.DurationVar(&o.Timeout, "timeout", deliver.DefaultTimeout, "how long an attempt may take, `D`")
	fs.IntVar(&o.Attempts, "attempts", deliver.DefaultAttempts, "give an offer up after `N` attempts")
	fs.DurationVar(&o.Within, "within", deliver.DefaultWithin, "give an offer up so long after it was stored, `D`; never later than it expires")
	fs.StringVar(&f.report, "report", "", "send the events Offer Delivered and Offer Failed to this gateway, `URL`")
	fs.StringVar(&f.keyFile, "key-file", "", "a `FILE` with a key of role server for --report")
	fs.StringVar(&r.UnsubscribeFrom, "unsubscribe", "", "the gateway's `URL` that links to unsubscribe begin with")
	fs.StringVar(&f.links, "unsubscribe-key-file", "", "a `FILE` with the keys of these links, as the gateway's --unsubscribe-keys")
	fs.StringVar(&f.metrics, "metrics", "", "serve /metrics, /healthz and /readyz on this `ADDRESS`")
	if err := fs.none(args); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(std.err, nil))
	o.Log, o.Seed = log, rand.Uint64()
	if err := f.check(log); err != nil {
		return usageError{err}
	}
	conn, err := broker.Connect(ctx, broker.Options{URL: *n.url, Creds: *n.creds, Prefix: *n.prefix, Client: "offerstream-deliver", Join: true, Reconnect: true, Log: log})
	if err != nil {
		return err
	}
	defer conn.Close()
	o.Conn = conn
	reg := prometheus.NewRegistry()
	o.Metrics = reg
	d, err := deliver.New(*o)
	if err != nil {
		return err
	}
	if f.metrics != "" {
		stop, err := serveDelivery(f.metrics, d, reg, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	return d.Run(ctx)
}

// check reads what the flags name.
func (f *deliverFlags) check(log *slog.Logger) (err error) {
	o, r := &f.opt, &f.opt.Receiver
	switch {
	case o.Channel == "":
		return errors.New("no channel given: say which offers are sent with --channel C")
	case f.start != "all" && f.start != "new":
		return fmt.Errorf("--start %s is neither all nor new", f.start)
	case f.start != "all" && o.Letters:
		return errors.New("--start is for offers: with --letters, the letters that were not sent again are")
	case o.Rate < 0 || o.Concurrency < 1 || o.Attempts < 1 || o.Timeout <= 0 || o.Within <= 0:
		return errors.New("--rate is not negative, and --concurrency, --attempts, --timeout and --within are above 0")
	case o.Concurrency > 1024:
		return fmt.Errorf("--concurrency %d is above 1024", o.Concurrency)
	}
	o.New = f.start == "new"
	if r.URL, err = f.receiver(log); err != nil {
		return err
	}
	if r.Secret, err = secret("--secret-file", f.secret, "OFFERSTREAM_DELIVER_SECRET", log); err != nil {
		return err
	}
	if r.Token, err = secret("--token-file", f.token, "OFFERSTREAM_DELIVER_TOKEN", log); err != nil {
		return err
	}
	links, err := secret("--unsubscribe-key-file", f.links, "", log)
	if err != nil {
		return err
	}
	if links != nil {
		if r.Unsubscribe, err = unsubscribe.Parse(links.Text()); err != nil {
			return err
		}
	}
	if f.template != "" {
		b, err := os.ReadFile(f.template)
		if err != nil {
			return fmt.Errorf("--template: %w", err)
		}
		if r.Template = string(b); strings.TrimSpace(r.Template) == "" {
			return fmt.Errorf("--template: %s is empty", f.template)
		}
	}
	if err := f.reports(log); err != nil {
		return err
	}
	_, err = deliver.New(*o) // before NATS is asked
	return err
}

// receiver is the receiver's URL.
func (f *deliverFlags) receiver(log *slog.Logger) (string, error) {
	if f.url != "" {
		u, err := url.Parse(f.url)
		switch {
		case f.urlFile != "":
			return "", errors.New("--url and --url-file exclude each other")
		case err != nil:
			return "", errors.New("--url is not a URL")
		case u.User != nil:
			return "", errors.New("--url has a user, which other users of this machine can see: write it into a file, and give --url-file")
		}
		return f.url, nil
	}
	s, err := secret("--url-file", f.urlFile, "OFFERSTREAM_DELIVER_URL", log)
	if err != nil {
		return "", err
	}
	if s == nil {
		return "", errors.New("no receiver given: say where offers go with --url URL, or with --url-file FILE if the URL is a secret")
	}
	return s.Text(), nil
}

// reports makes the function that sends events to the gateway.
func (f *deliverFlags) reports(log *slog.Logger) error {
	key, err := secret("--key-file", f.keyFile, "OFFERSTREAM_SERVER_KEY", log)
	switch {
	case err != nil:
		return err
	case f.report == "" && f.keyFile != "":
		return errors.New("--key-file is for --report")
	case f.report == "":
		return nil
	case key == nil:
		return errors.New("--report needs a key of role server: give --key-file FILE")
	}
	s := newSender(f.report, "")
	s.notify = func(err error) {
		log.Warn("the gateway does not take the events about offers: trying again", "error", err)
	}
	f.opt.Report = func(ctx context.Context, events [][]byte) error {
		s.key, s.denied = key.Text(), 0
		if err := s.batch(ctx, events); err != nil {
			return err
		}
		return s.deniedErr()
	}
	return nil
}

// secret is what a file, or else the environment has; nil: nothing.
func secret(name, file, env string, log *slog.Logger) (*deliver.Secret, error) {
	if file != "" {
		s, err := deliver.SecretFile(file, log)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return s, nil
	}
	if text := strings.TrimSpace(os.Getenv(env)); env != "" && text != "" {
		return deliver.SecretText(text), nil
	}
	return nil, nil
}

// serveDelivery serves metrics and readiness until stop is called.
func serveDelivery(addr string, d *deliver.Deliverer, reg *prometheus.Registry, log *slog.Logger) (stop func() error, err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := d.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	log.Info("metrics served", "addr", l.Addr().String())
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(l)
	return srv.Close, nil
}
