// Package zone is the local time of users: the wall clock in their time zone,
// quiet hours, and the hour in which a user is the most active.
//
//	data    the rules of the zones, which are a file of this package (data.go)
//	clock   what the wall clock shows at a time (clock.go)
//	quiet   quiet hours, and the moment at which they are over (quiet.go)
//	hours   the moments at which an hour of the wall clock begins (hours.go)
//	best    the best hour (best.go)
//
// All times are nanoseconds since 1970. Only the file of this package says what
// a zone is: the environment (ZONEINFO, TZ), the host's own files and time.Local
// have no influence, because a replay on another host must give the same offers.
//
// zoneinfo.zip is lib/time/zoneinfo.zip of Go 1.26: release 2025c of the IANA
// database, which is in the public domain. A newer file can change offers that
// were sent, so that it needs a new number of the engine; Hash says which file
// the engine has.
package zone
