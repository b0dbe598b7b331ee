package value

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// ErrShort reports that the bytes end before the record does.
var ErrShort = errors.New("the record ends too early")

// A Writer writes the parts of a record: integers as varints (signed ones in
// zigzag encoding), texts and lists preceded by their length.
type Writer struct{ B []byte }

// Byte writes one byte.
func (w *Writer) Byte(v byte) { w.B = append(w.B, v) }

// Uint writes an unsigned integer.
func (w *Writer) Uint(v uint64) { w.B = binary.AppendUvarint(w.B, v) }

// Int writes a signed integer.
func (w *Writer) Int(v int64) { w.B = binary.AppendVarint(w.B, v) }

// Fixed writes eight bytes, little-endian.
func (w *Writer) Fixed(v uint64) { w.B = binary.LittleEndian.AppendUint64(w.B, v) }

// Len writes the number of elements that follow.
func (w *Writer) Len(n int) { w.Uint(uint64(n)) }

// Text writes a text after its length.
func (w *Writer) Text(s string) {
	w.Len(len(s))
	w.B = append(w.B, s...)
}

// Bytes writes bytes after their number.
func (w *Writer) Bytes(b []byte) {
	w.Len(len(b))
	w.B = append(w.B, b...)
}

// Times writes times, each as the difference from the previous one.
func (w *Writer) Times(ts []int64) {
	w.Len(len(ts))
	previous := int64(0)
	for _, t := range ts {
		w.Int(t - previous)
		previous = t
	}
}

// Value writes a value.
func (w *Writer) Value(v Value) {
	w.Byte(byte(v.Kind))
	switch v.Kind {
	case Null:
	case String, JSON, Integer:
		w.Text(v.Str)
	case Double:
		w.Fixed(v.Bits)
	case Int, Time, Duration:
		w.Int(int64(v.Bits))
	default:
		w.Uint(v.Bits)
	}
}

// Section writes one numbered section of a record: its number, its length, and
// the bytes that body writes. A section without content is left out.
func (w *Writer) Section(number uint64, body func()) {
	before := len(w.B)
	w.Uint(number)
	w.Byte(0) // placeholder for the length, which usually fits into one byte
	start := len(w.B)
	body()
	n := len(w.B) - start
	if n == 0 {
		w.B = w.B[:before]
		return
	}
	var length [binary.MaxVarintLen64]byte
	size := binary.PutUvarint(length[:], uint64(n))
	if size > 1 {
		w.B = append(w.B, length[1:size]...) // make room for a longer length
		copy(w.B[start-1+size:], w.B[start:start+n])
	}
	copy(w.B[start-1:], length[:size])
}

// A Reader reads what a Writer wrote. After an error it returns zero values.
type Reader struct {
	B     []byte
	Alias bool  // Text aliases B instead of copying
	Err   error // the first error
}

// Fail records an error and ends the reading.
func (r *Reader) Fail(err error) {
	if r.Err == nil {
		r.Err = err
	}
	r.B = nil
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.B) == 0 {
		r.Fail(ErrShort)
		return 0
	}
	v := r.B[0]
	r.B = r.B[1:]
	return v
}

// Uint reads an unsigned integer.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.B)
	if n <= 0 {
		r.Fail(ErrShort)
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Int reads a signed integer.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.B)
	if n <= 0 {
		r.Fail(ErrShort)
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Fixed reads eight bytes.
func (r *Reader) Fixed() uint64 {
	if len(r.B) < 8 {
		r.Fail(ErrShort)
		return 0
	}
	v := binary.LittleEndian.Uint64(r.B)
	r.B = r.B[8:]
	return v
}

// Len reads a number of elements of at least size bytes each. Thus damaged
// bytes cannot demand more memory than they occupy.
func (r *Reader) Len(size int) int {
	n := r.Uint()
	if n > math.MaxInt32 || int(n)*size > len(r.B) {
		r.Fail(ErrShort)
		return 0
	}
	return int(n)
}

// Bytes reads bytes that Writer.Bytes wrote. The slice aliases B; its capacity
// is limited so that appending to it does not overwrite what follows in B.
func (r *Reader) Bytes() []byte {
	n := r.Len(1)
	p := r.B[:n:n]
	r.B = r.B[n:]
	return p
}

// Text reads a text. It aliases B if Alias is set, else it is a copy.
func (r *Reader) Text() string {
	p := r.Bytes()
	if r.Alias {
		return unsafe.String(unsafe.SliceData(p), len(p))
	}
	return string(p)
}

// Times reads times that Writer.Times wrote.
func (r *Reader) Times() []int64 {
	n := r.Len(1)
	if n == 0 {
		return nil
	}
	ts := make([]int64, n)
	last := int64(0)
	for i := range ts {
		last += r.Int()
		ts[i] = last
	}
	return ts
}

// Value reads a value.
func (r *Reader) Value() Value {
	v := Value{Kind: Kind(r.Byte())}
	switch v.Kind {
	case Null:
	case String, JSON, Integer:
		v.Str = r.Text()
	case Double:
		v.Bits = r.Fixed()
	case Int, Time, Duration:
		v.Bits = uint64(r.Int())
	case Bool, Uint:
		v.Bits = r.Uint()
	default:
		r.Fail(fmt.Errorf("value of unknown kind %d", v.Kind))
	}
	return v
}

// Section reads the next section; number is 0 at the end of the record. Section
// numbers must ascend: before is the previous one.
func (r *Reader) Section(before uint64) (number uint64, body Reader) {
	if len(r.B) == 0 {
		return 0, Reader{}
	}
	number = r.Uint()
	if number <= before && r.Err == nil {
		r.Fail(fmt.Errorf("section %d follows section %d", number, before))
	}
	return number, Reader{B: r.Bytes(), Alias: r.Alias}
}

// Done returns the first error. Left-over bytes are an error, too.
func (r *Reader) Done() error {
	if r.Err == nil && len(r.B) > 0 {
		r.Err = fmt.Errorf("%d bytes are left over", len(r.B))
	}
	return r.Err
}
