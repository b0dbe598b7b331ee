package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline/event"
)

// metrics are the gateway's metrics, all named offerstream_gateway_...
type metrics struct {
	accepted   prometheus.Counter     // events acknowledged by the log
	clocks     prometheus.Counter     // clock events acknowledged by every partition
	facts      prometheus.Counter     // facts acknowledged by every partition
	keyErrors  prometheus.Counter     // readings of the file of keys that failed
	rejected   *prometheus.CounterVec // events refused, by reason
	problems   *prometheus.CounterVec // events accepted although a part of them cannot be read, by reason
	letters    prometheus.Counter     // refused events stored as dead letters
	unstored   *prometheus.CounterVec // refused events not stored, by reason
	answers    *prometheus.CounterVec // requests not answered with 200, by reason
	requests   prometheus.Counter     // requests answered with 200
	limits     *prometheus.CounterVec // limits reached: requests, memory, queue, arrivals, address, those of rates, debtors
	closed     *prometheus.CounterVec // connections beyond a limit: total, address
	inFlight   prometheus.Gauge       // requests being handled
	publish    prometheus.Histogram   // seconds from a pack's first sending to its acknowledgement
	failures   prometheus.Counter     // publishes that failed, including repeated ones
	givenUp    prometheus.Counter     // packs not acknowledged by their deadline
	coupons    prometheus.Histogram   // seconds from a request about a coupon to its answer
	packEvents prometheus.Histogram
	packBytes  prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, g *Gateway) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "offerstream_gateway_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "offerstream_gateway_" + name, Help: help}, []string{label})
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "offerstream_gateway_" + name, Help: help, Buckets: buckets})
		r.MustRegister(h)
		return h
	}
	m := &metrics{
		accepted:   counter("events_accepted_total", "Events acknowledged by the log; facts and clock events not counted."),
		clocks:     counter("clock_events_total", "Clock events acknowledged by every partition."),
		facts:      counter("facts_total", "Facts acknowledged by every partition."),
		keyErrors:  counter("keys_file_errors_total", "Readings of the file of keys that failed; the keys stay as they were."),
		rejected:   vector("events_rejected_total", "Events refused, by reason; role, proof and unproved: the key may not send them; bot: sent by a crawler.", "reason"),
		problems:   vector("event_problems_total", "Events taken although a part of them cannot be read, by reason; timestamp: each counts as an event of when it was received.", "reason"),
		letters:    counter("dead_letters_total", "Refused events of batches, stored as dead letters."),
		unstored:   vector("dead_letters_not_stored_total", "Refused events of batches, not stored as dead letters, by reason.", "reason"),
		requests:   counter("requests_ok_total", "Requests answered with 200."),
		answers:    vector("requests_refused_total", "Requests not answered with 200, by reason.", "reason"),
		limits:     vector("limits_reached_total", "Requests refused because a limit was reached, by limit; debtors: not refused, but not limited by a rate either, because too many senders are.", "limit"),
		closed:     vector("connections_refused_total", "Connections closed at once because there are too many, in total or from one address.", "limit"),
		coupons:    histogram("coupon_seconds", "Time from a request that redeems or voids a coupon to its answer.", prometheus.ExponentialBuckets(250e-6, 2, 15)),
		publish:    histogram("publish_seconds", "Time from a pack's first sending to its acknowledgement.", prometheus.ExponentialBuckets(50e-6, 2, 18)),
		failures:   counter("publish_failures_total", "Publishes that failed or timed out, including repeated ones."),
		givenUp:    counter("packs_given_up_total", "Packs not acknowledged by their deadline."),
		packEvents: histogram("pack_events", "Events in a pack.", prometheus.ExponentialBuckets(1, 2, 12)),
		packBytes:  histogram("pack_bytes", "Bytes of a pack.", prometheus.ExponentialBuckets(256, 2, 12)),
	}
	for _, reason := range []string{"rate", "queue", "room", "log"} { // shown from the beginning, so that an increase can be seen
		m.unstored.WithLabelValues(reason)
	}
	for _, reason := range []string{event.DeniedRole, event.DeniedProof, event.DeniedUnproved, "bot"} {
		m.rejected.WithLabelValues(reason)
	}
	m.inFlight = prometheus.NewGauge(prometheus.GaugeOpts{Name: "offerstream_gateway_requests_in_flight", Help: "Requests being handled, whose body is there."})
	r.MustRegister(m.inFlight)
	for _, now := range []struct {
		name, help string
		value      func() float64
	}{
		{"queue_bytes", "Bytes that wait to be published or are being published.", g.queued},
		{"arriving_bytes", "Bytes of memory of bodies that are coming.", g.arrivals.bytes},
		{"connections", "Open connections.", func() float64 { return float64(g.connections.open.Load()) }},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "offerstream_gateway_" + now.name, Help: now.help}, now.value))
	}
	return m
}
