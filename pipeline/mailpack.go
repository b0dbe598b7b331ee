package pipeline

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"offerstream/pipeline/value"
)

// A mail is a message from one entity's step to another entity (LANGUAGE.md, rule
// 20). It is on a chain of the sender's partition, which is in the log of the
// receiver's: EVENTS-<q>, under the subject events.<q>.from.<p>. A message of that
// log is a pack of mails, which its writer makes of those that wait:
//
//	version  1 byte
//	mails    each: its length (uvarint), then its position on the chain (n, s, k, t,
//	         g), the log time of its step, and what mail.go says
//
// How many are in one message has no meaning: the receiver applies each mail once,
// by its position.

// packVersion is the version of packs; a change of mails is a new one.
const packVersion = 1

// MostPacked is the size up to which a writer adds mails to a pack, in bytes. A mail
// that is larger than that is in a pack of its own.
const MostPacked = 256 << 10

const (
	mailsPrefix = "events."
	mailsSuffix = ".from"
)

// MailChain is the name of the chain of mails to partition q.
func MailChain(q int) string { return mailsPrefix + strconv.Itoa(q) + mailsSuffix }

// MailsTo is the partition to which a chain of mails goes; ok is false for any other
// chain.
func MailsTo(chain string) (q int, ok bool) {
	in, ok := strings.CutPrefix(chain, mailsPrefix)
	if in, ok2 := strings.CutSuffix(in, mailsSuffix); ok && ok2 {
		q, err := strconv.Atoi(in)
		return q, err == nil && q >= 0 && strconv.Itoa(q) == in
	}
	return 0, false
}

// AppendPacked appends a mail (Effect.Mail) with its position to a pack; an empty pack
// begins with its version.
func AppendPacked(pack []byte, at Position, mail []byte) []byte {
	w := value.Writer{B: pack}
	if len(pack) == 0 {
		w.Byte(packVersion)
	}
	var room [5 * binary.MaxVarintLen64]byte
	head := value.Writer{B: room[:0]}
	head.Uint(at.N)
	head.Uint(at.S)
	head.Uint(uint64(at.K))
	head.Int(at.T)
	head.Int(at.G)
	w.Len(len(head.B) + len(mail))
	w.B = append(append(w.B, head.B...), mail...)
	return w.B
}

// EachPacked calls fn with each mail of a pack and its position. The mail aliases the
// pack.
func EachPacked(pack []byte, fn func(at Position, mail []byte) error) error {
	r := value.Reader{B: pack, Alias: true}
	if v := r.Byte(); r.Err == nil && v != packVersion {
		return fmt.Errorf("a pack of mails of version %d, this binary knows %d: %w", v, packVersion, ErrNewer)
	}
	for r.Err == nil && len(r.B) > 0 {
		one := value.Reader{B: r.Bytes(), Alias: true}
		at := Position{N: one.Uint(), S: one.Uint(), K: uint32(one.Uint()), T: one.Int(), G: one.Int()}
		if r.Err == nil {
			r.Err = one.Err
		}
		if r.Err == nil {
			r.Err = fn(at, one.B)
		}
	}
	if r.Err != nil {
		return fmt.Errorf("a pack of mails: %w", r.Err)
	}
	return nil
}
