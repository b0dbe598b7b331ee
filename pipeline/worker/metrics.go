package worker

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"offerstream/pipeline"
)

// metrics are the worker's metrics, all named offerstream_worker_...
type metrics struct {
	step            prometheus.Histogram
	cacheLookup     prometheus.Histogram
	storeLookup     prometheus.Histogram
	checkpoint      prometheus.Histogram
	checkpointBytes prometheus.Histogram
	snapshot        prometheus.Histogram
	switches        prometheus.Histogram
	backfills       *prometheus.CounterVec
	ticks           prometheus.Counter
	damaged         prometheus.Counter
	interrupted     prometheus.Counter
	letters         prometheus.Counter
	couponsRefused  prometheus.Counter
	sent, received  prometheus.Counter // mails
	strays, refused prometheus.Counter
	outcomes        *prometheus.CounterVec
	features        *prometheus.CounterVec
	problems        *prometheus.CounterVec
	stopped         *prometheus.GaugeVec
	free, short     prometheus.Gauge
}

func newMetrics(r prometheus.Registerer, w *Worker) *metrics {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "offerstream_worker_" + name, Help: help, Buckets: buckets})
		r.MustRegister(h)
		return h
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "offerstream_worker_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "offerstream_worker_" + name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "offerstream_worker_" + name, Help: help})
		r.MustRegister(g)
		return g
	}
	fine := prometheus.ExponentialBuckets(100e-9, 2, 20)
	m := &metrics{
		step:            histogram("step_seconds", "Mean time of a step (an event or a due timer), by message.", fine),
		cacheLookup:     histogram("lookup_cache_seconds", "Time to find a user in the cache, one lookup in 64.", fine),
		storeLookup:     histogram("lookup_store_seconds", "Time to read and decode a user from the store.", fine),
		checkpoint:      histogram("checkpoint_seconds", "Time to encode and commit a checkpoint, without waiting for offers.", prometheus.ExponentialBuckets(100e-6, 2, 16)),
		checkpointBytes: histogram("checkpoint_bytes", "Bytes of a checkpoint.", prometheus.ExponentialBuckets(256, 4, 10)),
		snapshot:        histogram("snapshot_seconds", "Time to put a partition's snapshot into the object store.", prometheus.ExponentialBuckets(0.01, 2, 16)),
		switches:        histogram("switch_seconds", "Time for which a partition stood at a switch, until its two states were one.", prometheus.ExponentialBuckets(0.01, 2, 16)),
		backfills:       vector("backfills_total", "Second folds of partitions that have ended, by what became of them: switched or given_up.", "end"),
		ticks:           counter("ticks_total", "Ticks published because a timer was due and nothing else came."),
		damaged:         counter("state_damaged_total", "Times that a partition's state was damaged and made anew."),
		interrupted:     counter("interruptions_total", "Times that a partition went on from its last checkpoint."),
		couponsRefused:  counter("coupon_questions_refused_total", "Questions of gateways about coupons that were not answered, because too many waited."),
		letters:         counter("dead_letters_total", "Messages of the log that could not be applied, replayed ones included."),
		sent:            counter("mails_sent_total", "Mails that steps sent to entities of any partition, replayed ones included."),
		received:        counter("mails_received_total", "Mails that came in the logs of partitions, replayed and repeated ones included."),
		strays:          counter("mails_dropped_total", "Mails that nothing waited for any more, replayed ones included: what they brought was superseded, cancelled or forgotten. What they granted is given back."),
		refused:         counter("claims_refused_total", "Claims of visitors who belong to a user already, replayed ones included."),
		outcomes:        vector("evaluations_total", "Evaluations since the process began, replayed ones included, by campaign (all its rows together) and outcome; fired is an offer.", "campaign", "outcome"),
		features:        vector("features_total", "Problems of features: missing fields, errors, bounds reached.", "what"),
		problems:        vector("event_problems_total", "Events applied although a part of them cannot be read, replayed ones included, by reason; timestamp: each counts as an event of when it was received; fact: no set declares the fact, which changes nothing; item: the set has no items of the kind, which changes nothing.", "reason"),
		free:            gauge("disk_free_bytes", "Free bytes on the disk of the state, when last looked up."),
		short:           gauge("disk_short", "1 while the disk has so little room that the worker has given up its partitions."),
		stopped:         prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "offerstream_worker_partition_stopped", Help: "1 if a partition has stopped until an operator acts."}, []string{"partition"}),
	}
	r.MustRegister(m.stopped, &partitionsCollector{w})
	return m
}

// countEvery is the least time between two updates of the metrics of outcomes.
const countEvery = 5 * time.Second

// count adds the fold's outcomes to the metrics, at most once every countEvery
// unless last is true.
func (a *attempt) count(last bool) {
	if !last && a.now().Sub(a.counting) < countEvery {
		return
	}
	a.counting = a.now()
	features := a.fold.EachCount(func(name string, now pipeline.Counts) {
		before := a.counted[name]
		if now == before {
			return
		}
		whole, _, _ := strings.Cut(name, "/") // all rows of a campaign together
		for o, n := range now.Ended {
			if n > before.Ended[o] {
				a.p.w.met.outcomes.WithLabelValues(whole, pipeline.Outcome(o).String()).Add(float64(n - before.Ended[o]))
			}
		}
		a.counted[name] = now
	})
	add := func(what string, now, before uint64) {
		if now > before {
			a.p.w.met.features.WithLabelValues(what).Add(float64(now - before))
		}
	}
	add("missing", features.Missing, a.countedFeatures.Missing)
	add("error", features.Errors, a.countedFeatures.Errors)
	add("bound", features.Bounds, a.countedFeatures.Bounds)
	a.countedFeatures = features
	a.countEvents()
}

// eventCounts are counts of a fold that belong to no campaign and no feature.
type eventCounts struct{ untimed, undeclared, unnamed, strays, refused uint64 }

func (a *attempt) countEvents() {
	now, was := eventCounts{a.fold.Untimed(), a.fold.Undeclared(), a.fold.Unnamed(), a.fold.Strays(), a.fold.RefusedClaims()}, a.countedEvents
	a.countedEvents = now
	for _, c := range []struct {
		now, was uint64
		to       prometheus.Counter
	}{
		{now.untimed, was.untimed, a.p.w.met.problems.WithLabelValues("timestamp")},
		{now.undeclared, was.undeclared, a.p.w.met.problems.WithLabelValues("fact")},
		{now.unnamed, was.unnamed, a.p.w.met.problems.WithLabelValues("item")},
		{now.strays, was.strays, a.p.w.met.strays},
		{now.refused, was.refused, a.p.w.met.refused},
	} {
		if c.now > c.was {
			c.to.Add(float64(c.now - c.was))
		}
	}
}

// partitionsCollector collects the metrics of the group and of every partition's
// status.
type partitionsCollector struct{ w *Worker }

var (
	descMembers = prometheus.NewDesc("offerstream_worker_members", "Members of the group that are alive, as far as this one sees; 0 while it does not know.", nil, nil)
	descRoles   = prometheus.NewDesc("offerstream_worker_partitions", "Partitions that this worker owns, or follows without publishing.", []string{"role"}, nil)
	descApplied = prometheus.NewDesc("offerstream_worker_events_applied_total", "Events applied to the partition's state, over its life.", []string{"partition"}, nil)
	descLag     = prometheus.NewDesc("offerstream_worker_lag_messages", "Messages in the partition's log that are not applied yet.", []string{"partition"}, nil)
	descWaiting = prometheus.NewDesc("offerstream_worker_offers_waiting", "Offers that are not known stored yet.", []string{"partition"}, nil)
	descMails   = prometheus.NewDesc("offerstream_worker_mails_waiting", "Mails to entities of all partitions that are not known stored yet, in the receivers' logs.", []string{"partition"}, nil)
	descBraked  = prometheus.NewDesc("offerstream_brake_tripped", "1 while a brake of this partition, which this worker owns, pauses a channel or a campaign.", []string{"partition", "channel", "campaign"}, nil)
	descBudget  = prometheus.NewDesc("offerstream_worker_budget_left", "What is left of the budgets of a campaign whose owner this worker is, all its rows together: offers, or what `of` measures.", []string{"partition", "campaign"}, nil)
	descPool    = prometheus.NewDesc("offerstream_worker_pool_left", "Codes that are left in a pool whose owner this worker is.", []string{"partition", "pool"}, nil)
	descLogTime = prometheus.NewDesc("offerstream_worker_log_time_seconds", "The partition's log time, seconds since 1970.", []string{"partition"}, nil)
)

func (c *partitionsCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descMembers
	ch <- descRoles
	ch <- descApplied
	ch <- descLag
	ch <- descWaiting
	ch <- descMails
	ch <- descLogTime
	ch <- descBraked
	ch <- descBudget
	ch <- descPool
}

func (c *partitionsCollector) Collect(ch chan<- prometheus.Metric) {
	own, follow := 0, 0
	for _, p := range c.w.all() {
		if p == nil || !p.running.Load() {
			continue
		}
		if p.muted.Load() {
			follow++
			continue
		}
		own++
		n := strconv.Itoa(p.number)
		ch <- prometheus.MustNewConstMetric(descApplied, prometheus.CounterValue, float64(p.status.applied.Load()), n)
		ch <- prometheus.MustNewConstMetric(descLag, prometheus.GaugeValue, float64(p.status.pending.Load()), n)
		records, mails := p.status.waiting()
		ch <- prometheus.MustNewConstMetric(descWaiting, prometheus.GaugeValue, float64(records-mails), n)
		ch <- prometheus.MustNewConstMetric(descMails, prometheus.GaugeValue, float64(mails), n)
		ch <- prometheus.MustNewConstMetric(descLogTime, prometheus.GaugeValue, float64(p.status.logTime.Load())/1e9, n)
		if held := p.status.held.Load(); held != nil {
			held.collect(ch, n)
		}
		if braked := p.status.braked.Load(); braked != nil {
			for _, b := range *braked {
				ch <- prometheus.MustNewConstMetric(descBraked, prometheus.GaugeValue, 1, n, b.Channel, b.Campaign)
			}
		}
	}
	ch <- prometheus.MustNewConstMetric(descMembers, prometheus.GaugeValue, float64(c.w.members()))
	ch <- prometheus.MustNewConstMetric(descRoles, prometheus.GaugeValue, float64(own), "own")
	ch <- prometheus.MustNewConstMetric(descRoles, prometheus.GaugeValue, float64(follow), "follow")
}
