package broker

// Pulls counts what a reader has requested from a consumer and has not got yet, in
// messages and in bytes, so that the next request (a pull) is made before the
// server has used up those before.
//
// The server ends a pull when its messages are sent, when the next message exceeds
// what is left of its bytes, and when it has expired; then it sends a status with
// what is left. But where messages add up to exactly its bytes, the pull ends with
// the last of them, and no status comes: only who counts the bytes knows it. They
// are counted as the server counts them (natsSource.Next), so they are 0 if and
// only if no pull is open. The messages that a pull has left when it ends like that
// are not known: they stay counted until no pull is open.
type Pulls struct {
	Messages, Bytes int // of one pull

	messages, bytes int  // requested, and not here yet
	large           bool // the next message is larger than Bytes
}

// readAnySize is the limit of a pull for a message that is larger than Bytes. The
// server takes no message of this size.
const readAnySize = 1 << 30

// Most is the largest number of messages that are requested at once.
func (p *Pulls) Most() int { return 3 * p.Messages }

// Next returns the messages and the bytes of the pull to make now, 0 messages if
// enough is requested. The caller must make it.
func (p *Pulls) Next() (messages, bytes int) {
	switch {
	case p.large:
		messages, bytes, p.large = 1, readAnySize, false
	case p.messages > p.Messages/2 && p.bytes > p.Bytes/2, p.messages >= p.Most():
		return 0, 0
	default:
		messages, bytes = min(p.Messages, p.Most()-p.messages), p.Bytes
	}
	p.messages += messages
	p.bytes += bytes
	return messages, bytes
}

// Came counts a message that came, by its size as the server counts it.
func (p *Pulls) Came(size int) { p.less(1, size) }

// Ended counts the end of a pull, by what is left of it. tooLarge says that the
// next message exceeded it.
func (p *Pulls) Ended(messages, bytes int, tooLarge bool) {
	p.large = tooLarge && bytes == p.Bytes // no pull of this size can bring it
	p.less(messages, bytes)
}

func (p *Pulls) less(messages, bytes int) {
	p.messages -= messages
	if p.bytes -= bytes; p.bytes <= 0 {
		p.messages, p.bytes = 0, 0
	}
}

// Open reports whether a pull is open: then the server will send something.
func (p *Pulls) Open() bool { return p.bytes > 0 }
