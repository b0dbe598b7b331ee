package report

import (
	"strings"
	"time"

	"offerstream/pipeline"
	"offerstream/pipeline/value"
)

// A Series counts the offers of a run by the hours at which they went out.
type Series struct {
	zone      *time.Location
	campaigns map[string]*hours
}

// hours are the offers of one campaign.
type hours struct {
	since  map[int64]uint64 // by hour since 1970
	ofWeek [7][24]uint64    // by weekday from Monday, and hour of the day
	most   uint64           // the most in an hour of the week
	sent   uint64
}

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
		name, _, _ := strings.Cut(o.Campaign, "/")
		s.campaigns[name] = h
	}
	h.sent++
	h.since[hourOf(at)]++
	t := time.Unix(0, at).In(s.zone)
	day := (int(t.Weekday()) + 6) % 7
	h.ofWeek[day][t.Hour()]++
	h.most = max(h.most, h.ofWeek[day][t.Hour()])
}

// of are the hours of a unit's campaign; nil: it has sent nothing.
func (s *Series) of(unit string) *hours {
	name, _, _ := strings.Cut(unit, "/")
	return s.campaigns[name]
}

// hourOf is the hour since 1970 of a time.
func hourOf(ns int64) int64 {
	h := ns / int64(time.Hour)
	if ns < 0 && ns%int64(time.Hour) != 0 {
		h--
	}
	return h
}

// mostBars bounds the bars of a chart over time.
const mostBars = 96

// A bar is the offers of one span of time.
type bar struct {
	From, To time.Time
	N        uint64
}

// bars are a campaign's offers over the time of a run: by hour, or by more hours if
// there would be too many bars.
func (s *Series) bars(campaign string, first, last int64) []bar {
	from, to := hourOf(first), hourOf(last)
	if to < from {
		return nil
	}
	step := (to-from)/mostBars + 1
	bars := make([]bar, (to-from)/step+1)
	for i := range bars {
		begin := from + int64(i)*step
		bars[i] = bar{From: hourTime(begin, s.zone), To: hourTime(begin+step, s.zone)}
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

func hourTime(hour int64, zone *time.Location) time.Time { return time.Unix(hour*3600, 0).In(zone) }
