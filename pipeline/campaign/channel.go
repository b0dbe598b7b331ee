package campaign

import "offerstream/pipeline/lazyregexp"

var channelName = lazyregexp.New(`^[a-z0-9_-]{1,32}$`)

// Channel reports whether name can be the name of a channel. Channel names are
// parts of NATS subjects.
func Channel(name string) bool { return channelName.MatchString(name) }
