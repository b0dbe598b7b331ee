package deliver

import "github.com/prometheus/client_golang/prometheus"

// metrics are a channel's metrics, all named offerstream_deliver_..., with the label
// channel.
type metrics struct {
	sent, parked, unanswered, missed, letters, reported prometheus.Counter
	retries, failed                                     *prometheus.CounterVec
	behind, stopped                                     prometheus.Gauge
	attempt, latency                                    prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, channel string, g *holding) *metrics {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	of := prometheus.Labels{"channel": channel}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "offerstream_deliver_" + name, Help: help, ConstLabels: of})
		r.MustRegister(c)
		return c
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "offerstream_deliver_" + name, Help: help, ConstLabels: of}, labels)
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "offerstream_deliver_" + name, Help: help, ConstLabels: of})
		r.MustRegister(g)
		return g
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "offerstream_deliver_" + name, Help: help, Buckets: buckets, ConstLabels: of})
		r.MustRegister(h)
		return h
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "offerstream_deliver_waiting", ConstLabels: of,
		Help: "Offers that are being sent, or wait in this process: for the one before, the next attempt, an answer, or the gateway."}, g.count))
	return &metrics{
		sent:       counter("sent_total", "Offers that the receiver has taken."),
		retries:    vector("retries_total", "Failed attempts that are made again, by reason.", "reason"),
		failed:     vector("failed_total", "Offers that are not delivered, by reason: those that may not go out any more, and those that were given up.", "reason"),
		missed:     counter("missed_total", "Offers that OFFERS has trimmed before they could be taken."),
		letters:    counter("dead_letters_total", "Offers that were given up and stored as dead letters."),
		parked:     counter("parked_total", "Times that an offer was given back until quiet hours are over."),
		unanswered: counter("unanswered_total", "Questions whether an offer may go out that no worker has answered; it waits."),
		reported:   counter("reported_total", "Events about offers that the gateway has taken."),
		behind:     gauge("behind", "Offers that were not taken yet, when the last one was."),
		stopped:    gauge("stopped", "1 if the receiver is gone: nothing is sent until an operator acts."),
		attempt:    histogram("attempt_seconds", "Time of an attempt.", prometheus.ExponentialBuckets(0.001, 2, 16)),
		latency:    histogram("delivery_seconds", "Time from when an offer was stored until the receiver had it.", prometheus.ExponentialBuckets(0.005, 2.5, 16)),
	}
}
