package state

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// A tableWriter writes a Badger directory from keys in sorted order: tables,
// then a MANIFEST that names all of them in one set of changes. So a truncated
// MANIFEST names no table, and the missing identity shows the damage. Badger's
// own StreamWriter adds tables to the MANIFEST one by one.
//
// It writes with write(2), so that a full disk is an error. Badger maps its
// files, so that a full disk is a SIGBUS.
type tableWriter struct {
	dir     string
	table   table.Options
	level   int
	builder *table.Builder // builds the next table
	tables  []*pb.ManifestChange
	key     []byte
	buf     []byte
}

func newTableWriter(dir string, o Options) *tableWriter {
	if o.MemTable == 0 {
		o.MemTable = DefaultMemTable
	}
	b := badgerOptions(dir, o, newFailure(dir))
	w := &tableWriter{dir: dir, level: b.MaxLevels - 1, table: table.Options{
		TableSize:          uint64(b.BaseTableSize),
		BlockSize:          b.BlockSize,
		BloomFalsePositive: b.BloomFalsePositive,
		ChkMode:            b.ChecksumVerificationMode,
		Compression:        b.Compression,
	}}
	w.builder = table.NewTableBuilder(w.table)
	return w
}

func (w *tableWriter) add(key, record []byte) error {
	if w.builder.ReachedCapacity() {
		if err := w.flush(); err != nil {
			return err
		}
		w.builder = table.NewTableBuilder(w.table)
	}
	// Version 1, as if written by Badger's first transaction: later versions sort before it.
	w.key = binary.BigEndian.AppendUint64(append(w.key[:0], key...), math.MaxUint64-1)
	w.builder.Add(w.key, y.ValueStruct{Value: record}, 0)
	return nil
}

// flush writes the current table to its file.
func (w *tableWriter) flush() error {
	data := w.builder.Done()
	if cap(w.buf) < data.Size {
		w.buf = make([]byte, data.Size)
	}
	w.buf = w.buf[:data.Size]
	data.Copy(w.buf)
	w.close()
	id := uint64(len(w.tables) + 1)
	w.tables = append(w.tables, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_CREATE, Level: uint32(w.level),
		Compression: uint32(w.table.Compression)})
	return os.WriteFile(table.NewFilename(id, w.dir), w.buf, 0o600)
}

// finish writes the last table, and the MANIFEST: magic (4 bytes), the
// application's version (2), Badger's version (2), then length, checksum and
// changes.
func (w *tableWriter) finish() error {
	if err := w.flush(); err != nil {
		return err
	}
	set, err := proto.Marshal(&pb.ManifestChangeSet{Changes: w.tables})
	if err != nil {
		return err
	}
	b := []byte{'B', 'd', 'g', 'r', 0, 0, 0, 8}
	b = binary.BigEndian.AppendUint32(b, uint32(len(set)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(set, y.CastagnoliCrcTable))
	return os.WriteFile(filepath.Join(w.dir, badger.ManifestFilename), append(b, set...), 0o600)
}

// close drops the table that is being built.
func (w *tableWriter) close() {
	if w.builder != nil {
		w.builder.Close()
		w.builder = nil
	}
}
