package backtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"offerstream/pipeline"
	"offerstream/pipeline/value"
)

// An offerFile holds the offers of a partition, in order, until those of all
// partitions can be merged.
type offerFile struct {
	file *os.File
	w    *bufio.Writer
	enc  *json.Encoder
	dec  *json.Decoder
	next *pipeline.Offer // nil: there are no more
	time int64           // its log time
}

func newOfferFile(dir string, partition int) (*offerFile, error) {
	file, err := os.Create(filepath.Join(dir, fmt.Sprintf("offers-%d", partition)))
	if err != nil {
		return nil, err
	}
	f := &offerFile{file: file, w: bufio.NewWriterSize(file, 64<<10)}
	f.enc = json.NewEncoder(f.w)
	f.enc.SetEscapeHTML(false) // so that the data comes back as it was
	return f, nil
}

func (f *offerFile) add(o *pipeline.Offer) error { return f.enc.Encode(o) }

func (f *offerFile) flush() error { return f.w.Flush() }

// rewind reads the first offer.
func (f *offerFile) rewind() error {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f.dec = json.NewDecoder(bufio.NewReaderSize(f.file, 64<<10))
	return f.advance()
}

// advance reads the next offer.
func (f *offerFile) advance() error {
	f.next = &pipeline.Offer{}
	err := f.dec.Decode(f.next)
	if errors.Is(err, io.EOF) {
		f.next = nil
		return nil
	}
	if err == nil {
		f.time, err = value.ParseTime(f.next.Time)
	}
	return err
}

func (f *offerFile) close() {
	if f != nil {
		f.file.Close()
	}
}

// mergeOffers calls out with the offers of all partitions, in the order of log time,
// then of partitions.
func mergeOffers(parts []*part, out func(*pipeline.Offer) error) error {
	for _, p := range parts {
		if err := p.offers.rewind(); err != nil {
			return err
		}
	}
	for {
		var first *offerFile
		for _, p := range parts {
			if f := p.offers; f.next != nil && (first == nil || f.time < first.time) {
				first = f
			}
		}
		if first == nil {
			return nil
		}
		if err := out(first.next); err != nil {
			return err
		}
		if err := first.advance(); err != nil {
			return err
		}
	}
}
