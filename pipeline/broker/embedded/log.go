package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// logger passes on the log lines of nats-server; its many notices become debug
// lines. A fatal error would end a separate nats-server process; here Start
// returns it.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal error
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(text(format, v)) }
func (l *logger) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Healthcheck failed") { // watch asks each second, and logs what it does about it
		l.log.Debug(text(format, v))
		return
	}
	l.log.Warn(text(format, v))
}
func (l *logger) Errorf(format string, v ...any) { l.log.Error(text(format, v)) }
func (l *logger) Debugf(format string, v ...any) { l.log.Debug(text(format, v)) }
func (l *logger) Tracef(format string, v ...any) { l.log.Debug(text(format, v)) }

func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = errors.Join(l.fatal, fmt.Errorf(format, v...))
}

func (l *logger) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func text(format string, v []any) string { return "nats-server: " + fmt.Sprintf(format, v...) }
