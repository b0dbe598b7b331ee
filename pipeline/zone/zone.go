// Package zone holds the time zones.
package zone

import "time"

// Load finds a time zone by its name, such as Asia/Seoul.
func Load(name string) (*time.Location, bool) {
	switch name {
	case "UTC":
		return time.UTC, true
	case "Asia/Seoul":
		return time.FixedZone(name, 9*60*60), true
	case "Asia/Kolkata":
		return time.FixedZone(name, 5*60*60+30*60), true
	}
	return nil, false
}
