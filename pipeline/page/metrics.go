package page

import "github.com/prometheus/client_golang/prometheus"

// metrics are named offerstream_gateway_page_...
type metrics struct {
	unread prometheus.Counter     // web offers that cannot be read
	slow   prometheus.Counter     // streams ended as their page reads too slowly
	events *prometheus.CounterVec // events sent to pages, by type
	refuse *prometheus.CounterVec // streams refused, by limit
}

func newMetrics(r prometheus.Registerer, p *Page) *metrics {
	const prefix = "offerstream_gateway_page_"
	m := &metrics{
		unread: prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "offers_unread_total", Help: "Web offers that cannot be read, and are not shown."}),
		slow:   prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "streams_slow_total", Help: "Streams ended because their page reads too slowly; it comes again."}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "events_total", Help: "Events sent to pages, by type."}, []string{"type"}),
		refuse: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "streams_refused_total", Help: "Streams refused because there are too many: id, address, total."}, []string{"limit"}),
	}
	r.MustRegister(m.unread, m.slow, m.events, m.refuse)
	for _, limit := range []string{"id", "address", "total"} {
		m.refuse.WithLabelValues(limit)
	}
	now := func(name, help string, of func() int) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + name, Help: help}, func() float64 {
			p.mu.Lock()
			defer p.mu.Unlock()
			return float64(of())
		}))
	}
	now("offers", "Open offers on the board.", func() int { n, _, _ := p.board.Size(); return n })
	now("users", "Users and visitors who have open offers.", func() int { _, n, _ := p.board.Size(); return n })
	now("bytes", "Bytes of the open offers on the board.", func() int { _, _, n := p.board.Size(); return n })
	now("streams", "Open streams.", func() int { return p.streams })
	for _, limit := range []string{"each", "offers", "bytes", "others"} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: prefix + "dropped_total", ConstLabels: prometheus.Labels{"limit": limit},
			Help: "What the board has dropped because it is full, the oldest first: offers of one user (each), offers, bytes; others: visitors that became users, and early redemptions."},
			func() float64 {
				p.mu.Lock()
				defer p.mu.Unlock()
				return float64(p.board.DroppedBy(limit))
			}))
	}
	return m
}
