package campaign

import "regexp"

var channelName = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// Channel says whether name may be a channel: it becomes part of a subject.
func Channel(name string) bool { return channelName.MatchString(name) }
