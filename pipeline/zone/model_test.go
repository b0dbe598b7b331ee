package zone

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var seed = flag.Uint64("seed", 1, "of the tests with a model")

// A change is a moment near which a wall clock does something unusual.
type change struct {
	loc *time.Location
	at  time.Time
}

// changes are moments at which wall clocks are put forward or back, and the last
// days of leap years, from 1850 to 2060: all of some zones that do rare things,
// and some of all zones.
func changes(t *testing.T, rng *rand.Rand) (all []change) {
	rare := []string{"Australia/Lord_Howe", "Pacific/Apia", "Asia/Pyongyang", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham",
		"America/Caracas", "Antarctica/Troll", "Africa/Casablanca", "Europe/Dublin", "Asia/Manila", "Pacific/Kwajalein", "Africa/Monrovia"}
	names := Names()
	for range 60 {
		rare = append(rare, names[rng.IntN(len(names))])
	}
	end := time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, name := range rare {
		loc, ok := Load(name)
		if !ok {
			t.Fatal(name)
		}
		var of []change
		for year := 2024; year < 2060; year += 4 {
			of = append(of, change{loc, time.Date(year, 12, 31, 12, 0, 0, 0, time.UTC)})
		}
		for at := time.Date(1850, 1, 1, 0, 0, 0, 0, time.UTC); at.Before(end); at = at.Add(12 * time.Hour) {
			_, before := at.In(loc).Zone()
			_, after := at.Add(12 * time.Hour).In(loc).Zone()
			if before != after {
				of = append(of, change{loc, at.Add(time.Duration(rng.Int64N(int64(12 * time.Hour))))})
			}
		}
		if i >= 13 && len(of) > 8 {
			rng.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
			of = of[:8]
		}
		all = append(all, of...)
	}
	return all
}

// stepFor is a length by which a model can go through the days about a time
// without passing over anything: a minute, or a second if the clock was ever
// seconds off, as it was before zones were introduced.
func stepFor(loc *time.Location, at time.Time) time.Duration {
	for d := -4 * 24; d <= 4*24; d++ {
		u := at.Add(time.Duration(d) * time.Hour)
		_, offset := u.In(loc).Zone()
		start, end := u.In(loc).ZoneBounds()
		if offset%60 != 0 || !start.IsZero() && start.Unix()%60 != 0 || !end.IsZero() && end.Unix()%60 != 0 {
			return time.Second
		}
	}
	return time.Minute
}

// modelHours goes through the times between after and before, and remembers what
// the wall clock has shown.
func modelHours(after, before time.Time, loc *time.Location, step time.Duration) (starts []int64) {
	seen := map[string]bool{}
	for u := after.Add(-50 * time.Hour).Truncate(step); u.Before(before); u = u.Add(step) {
		wall := u.In(loc)
		if wall.Minute() != 0 || wall.Second() != 0 {
			continue
		}
		shows := wall.Format("2006-01-02 15")
		if !seen[shows] && u.After(after) {
			starts = append(starts, u.UnixNano())
		}
		seen[shows] = true
	}
	return starts
}

// TestModel holds quiet hours and hours to models that go through the time step
// by step, near many changes of wall clocks.
func TestModel(t *testing.T) {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 1))
	all := changes(t, rng)
	seconds := 0
	for _, c := range all {
		at := c.at.Add(time.Duration(rng.Int64N(int64(60*time.Hour))) - 40*time.Hour)
		if rng.IntN(3) == 0 {
			at = at.Truncate(time.Hour)
		}
		step := stepFor(c.loc, at)
		if step == time.Second {
			if seconds++; seconds > 25 {
				continue
			}
		}
		loud(t, rng, c.loc, at, step)
		ahead := time.Duration(rng.Int64N(int64(40 * time.Hour)))
		got, want := Hours(at.UnixNano(), at.Add(ahead).UnixNano(), c.loc), modelHours(at, at.Add(ahead), c.loc, step)
		if !slices.Equal(got, want) {
			t.Fatalf("%s, %s after %s: the hours are %v, want %v", c.loc, ahead, at, show(got, c.loc), show(want, c.loc))
		}
		best(t, rng, c.loc, at, want)
	}
	if seconds < 5 {
		t.Errorf("only %d of %d changes with seconds", seconds, len(all))
	}
}

func show(times []int64, loc *time.Location) (texts []string) {
	for _, at := range times {
		texts = append(texts, in(at, loc).Format(time.RFC3339Nano))
	}
	return texts
}

// loud holds Quiet and Loud to the texts of the wall clock.
func loud(t *testing.T, rng *rand.Rand, loc *time.Location, at time.Time, step time.Duration) {
	t.Helper()
	from, to := rng.IntN(1440), rng.IntN(1440)
	if rng.IntN(2) == 0 {
		from, to = rng.IntN(24)*60, rng.IntN(4)*60+rng.IntN(2)*30
	}
	text := func(m int) string { return fmt.Sprintf("%02d:%02d", m/60, m%60) }
	isQuiet := func(u time.Time) bool {
		wall := u.In(loc).Format("15:04")
		if from <= to {
			return text(from) <= wall && wall < text(to)
		}
		return text(from) <= wall || wall < text(to)
	}
	if got, want := Quiet(at.UnixNano(), loc, from, to), isQuiet(at); got != want {
		t.Fatalf("%s: %s to %s quiet at %s: %v", loc, text(from), text(to), at, got)
	}
	want := at
	if isQuiet(want) {
		want = at.Truncate(step)
		for isQuiet(want) {
			want = want.Add(step)
		}
	}
	if got := Loud(at.UnixNano(), loc, from, to); got != want.UnixNano() {
		t.Fatalf("%s: %s to %s is over after %s (%s) at %s, want %s", loc, text(from), text(to), at, at.In(loc), time.Unix(0, got).UTC(), want)
	}
}

// best holds BestHour, over the hours from now, to the definition: counts by the
// texts of hours, and a sort.
func best(t *testing.T, rng *rand.Rand, loc *time.Location, now time.Time, hours []int64) {
	t.Helper()
	var times []int64
	for range rng.IntN(6) {
		times = append(times, now.Add(-time.Duration(rng.Int64N(int64(30*24*time.Hour)))).UnixNano())
	}
	silent := rng.Int64N(5)
	isQuiet := func(u int64) bool { return u/int64(time.Hour)%5 == silent }
	ahead := 40 * time.Hour
	type candidate struct {
		at        int64
		week, day int
	}
	var all []candidate
	count := func(at int64, layout string) (n int) {
		for _, u := range times {
			if in(u, loc).Format(layout) == in(at, loc).Format(layout) {
				n++
			}
		}
		return n
	}
	if len(hours) > 0 {
		ahead = time.Duration(hours[len(hours)-1] - now.UnixNano() + 1)
	} else {
		ahead = 0
	}
	for _, at := range append([]int64{now.UnixNano()}, hours...) {
		if !isQuiet(at) {
			all = append(all, candidate{at, count(at, "Mon 15"), count(at, "15")})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		if a.week != b.week {
			return b.week - a.week
		}
		return b.day - a.day
	})
	want, wait := now.UnixNano(), false
	if len(all) > 0 && all[0].day > 0 {
		want, wait = all[0].at, all[0].at != now.UnixNano()
	}
	if got, ok := BestHour(now.UnixNano(), int64(ahead), times, loc, isQuiet); got != want || ok != wait {
		t.Fatalf("%s at %s: %s, %v; want %s, %v of %v", loc, now, show([]int64{got}, loc), ok, show([]int64{want}, loc), wait, all)
	}
}
