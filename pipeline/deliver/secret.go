package deliver

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	lookSecret = 5 * time.Second // how often a secret's file is looked at
	maxSecret  = 64 << 10        // bytes of such a file
)

// A Secret is a text that only a file or the environment has. A file is read again
// within five seconds when it has changed; while it cannot be read, the text stays.
type Secret struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	text   string
	stamp  stamp
	looked time.Time
}

// A stamp changes when a file does.
type stamp struct {
	at   time.Time
	size int64
}

// SecretText is a secret from the environment.
func SecretText(text string) *Secret { return &Secret{text: text} }

// SecretFile is a secret from a file, without the white space around it.
func SecretFile(path string, log *slog.Logger) (*Secret, error) {
	s := &Secret{path: path, log: log, looked: time.Now()}
	return s, s.read()
}

func (s *Secret) read() error {
	f, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("read a secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read a secret: %w", err)
	}
	is := stamp{info.ModTime(), info.Size()}
	if is == s.stamp {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	b = bytes.TrimSpace(b)
	switch {
	case err != nil:
		return fmt.Errorf("read the secret in %s: %w", s.path, err)
	case len(b) == 0:
		return fmt.Errorf("the file of a secret, %s, is empty", s.path)
	case len(b) > maxSecret:
		return fmt.Errorf("the file of a secret, %s, has more than %d bytes", s.path, maxSecret)
	}
	s.stamp, s.text = is, string(b)
	return nil
}

// Text is the secret as it is now.
func (s *Secret) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" && time.Since(s.looked) >= lookSecret {
		s.looked = time.Now()
		if err := s.read(); err != nil {
			s.log.Error("a secret stays as it was", "error", err)
		}
	}
	return s.text
}
