package report

import (
	"slices"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/value"
)

// A Series counts the offers of a run by the hours at which they went out.
type Series struct {
	zone      *time.Location
	campaigns map[string]*hours
}

// hours are the offers of one campaign.
type hours struct {
	since  map[int64]uint64 // by slot since 1970
	ofWeek [7][24]uint64    // by weekday from Monday, and hour of the day
	most   uint64           // the most in an hour of the week
}

// slot is the shortest time of a bar.
const slot = 5 * time.Minute

// NewSeries makes an empty series. Hours of the week are those of the zone.
func NewSeries(zone *time.Location) *Series {
	return &Series{zone: zone, campaigns: map[string]*hours{}}
}

// Add takes an offer of the run. One that is withheld has gone out to nobody.
func (s *Series) Add(o *pipeline.Offer) {
	at, err := value.ParseTime(o.Time)
	if o.Withheld || err != nil {
		return
	}
	h := s.of(o.Campaign)
	if h == nil {
		h = &hours{since: map[int64]uint64{}}
		s.campaigns[campaign.NameOf(o.Campaign)] = h
	}
	h.since[slotOf(at)]++
	t := time.Unix(0, at).In(s.zone)
	day := (int(t.Weekday()) + 6) % 7
	h.ofWeek[day][t.Hour()]++
	h.most = max(h.most, h.ofWeek[day][t.Hour()])
}

// of are the hours of a unit's campaign; nil: it has sent nothing.
func (s *Series) of(unit string) *hours {
	return s.campaigns[campaign.NameOf(unit)]
}

// slotOf is the slot since 1970 of a time.
func slotOf(ns int64) int64 {
	n := ns / int64(slot)
	if ns < 0 && ns%int64(slot) != 0 {
		n--
	}
	return n
}

// mostBars bounds the bars of a chart over time.
const mostBars = 120

// lengths are those that bars may have, in slots: 5, 15 and 30 minutes, 1, 2, 3, 6 and
// 12 hours; longer ones are whole days.
var lengths = []int64{1, 3, 6, 12, 24, 36, 72, 144}

// A bar is the offers of one span of time.
type bar struct {
	From, To time.Time
	N        uint64
}

// bars are a campaign's offers over the time of a run.
func (s *Series) bars(campaign string, first, last int64) []bar {
	from, to := slotOf(first), slotOf(last)
	if to < from {
		return nil
	}
	const day = 288
	step := ((to-from)/day/mostBars + 1) * day
	for _, l := range slices.Backward(lengths) {
		if (to-from)/l < mostBars {
			step = l
		}
	}
	bars := make([]bar, (to-from)/step+1)
	for i := range bars {
		begin := from + int64(i)*step
		bars[i] = bar{From: s.timeOf(begin), To: s.timeOf(begin + step)}
	}
	if h := s.of(campaign); h != nil {
		for at, n := range h.since {
			if i := (at - from) / step; at >= from && i < int64(len(bars)) {
				bars[i].N += n
			}
		}
	}
	return bars
}

// timeOf is when a slot begins.
func (s *Series) timeOf(n int64) time.Time { return time.Unix(n*int64(slot/time.Second), 0).In(s.zone) }
