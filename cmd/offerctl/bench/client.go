package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A client sends prepared HTTP requests over connections that stay open. It
// supports only what the bench's own servers need, because the client of
// net/http would cost as much as the measured server.
type client struct {
	requests [][]byte
	says     string // what each answer must say; "": anything
	conns    []*clientConn
	next     atomic.Uint64
}

type clientConn struct {
	net.Conn
	in *bufio.Reader
}

// request returns a POST request as an SDK of a server sends it.
func request(path string, body []byte) []byte { return requestBy(path, basic(writeKey), body) }

// requestBy is request with another header for the key. "": the key is elsewhere.
func requestBy(path, header string, body []byte) []byte {
	if header != "" {
		header += "\r\n"
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: bench\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, header, len(body))
	return append([]byte(head), body...)
}

// basic is the header of a key as user name of Basic authorization.
func basic(key string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(key+":"))
}

func dial(addr string, conns int, requests [][]byte) (*client, error) {
	c := &client{requests: requests}
	for range conns {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			c.close()
			return nil, err
		}
		c.conns = append(c.conns, &clientConn{conn, bufio.NewReader(conn)})
	}
	return c, nil
}

func (c *client) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

func (c *client) request() []byte { return c.requests[c.next.Add(1)%uint64(len(c.requests))] }

// answer reads a response. Any status but 200 is an error, and so is a body that does not
// have says in it.
func (c *clientConn) answer(says string) error {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok, status := bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")), string(bytes.TrimSpace(line))
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if v, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			if length, err = strconv.Atoi(string(v)); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("%s, without a length", status)
	}
	begin, err := c.in.Peek(min(length, c.in.Size()))
	if err != nil {
		return err
	}
	if ok && bytes.Contains(begin, []byte(says)) {
		_, err := c.in.Discard(length)
		return err
	}
	body, err := io.ReadAll(io.LimitReader(c.in, int64(length)))
	return errors.Join(fmt.Errorf("%s: %s", status, body), err)
}

// closed sends requests for a time in a closed loop: on each connection, the
// next request when the previous one is answered. It returns requests per second.
func (c *client) closed(ctx context.Context, most time.Duration) (float64, error) {
	var all sync.WaitGroup
	counts, errs := make([]int, len(c.conns)), make([]error, len(c.conns))
	start := time.Now()
	for i, conn := range c.conns {
		all.Go(func() {
			for time.Since(start) < most && ctx.Err() == nil && errs[i] == nil {
				if _, errs[i] = conn.Write(c.request()); errs[i] == nil {
					errs[i] = conn.answer(c.says)
				}
				counts[i]++
			}
		})
	}
	all.Wait()
	n := 0
	for _, k := range counts {
		n += k
	}
	return float64(n) / time.Since(start).Seconds(), errors.Join(append(errs, ctx.Err())...)
}

// open sends requests for a time in an open loop: at a fixed rate, whether or
// not earlier requests were answered. It returns the latencies, sorted. A latency
// is counted from the moment at which the request was scheduled, so it includes
// the wait for a connection.
func (c *client) open(ctx context.Context, rate float64, most time.Duration) ([]time.Duration, error) {
	idle := make(chan *clientConn, len(c.conns))
	var all sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	errs := make([]error, len(c.conns))
	start := time.Now()
	n := int(rate * most.Seconds())
	scheduled := make(map[*clientConn]chan time.Time, len(c.conns)) // of the requests without an answer
	for i, conn := range c.conns {
		idle <- conn
		answers := make(chan time.Time, 1)
		scheduled[conn] = answers
		all.Go(func() {
			for at := range answers {
				if err := conn.answer(c.says); err != nil {
					errs[i] = err
					idle <- nil // ends the sending
					continue
				}
				latency := time.Since(at)
				mu.Lock()
				took = append(took, latency)
				mu.Unlock()
				idle <- conn
			}
		})
	}
	c.sendOnSchedule(ctx, start, rate, n, idle, scheduled)
	for _, answers := range scheduled {
		close(answers)
	}
	all.Wait()
	slices.Sort(took)
	err := errors.Join(append(errs, ctx.Err())...)
	if err == nil && len(took) != n {
		err = fmt.Errorf("bench: %d answers to %d requests", len(took), n)
	}
	return took, err
}

// sendOnSchedule sends n requests at a rate, each over an idle connection. It
// ends early if idle yields nil.
func (c *client) sendOnSchedule(ctx context.Context, start time.Time, rate float64, n int, idle <-chan *clientConn, scheduled map[*clientConn]chan time.Time) {
	runtime.LockOSThread() // a sleep by the system is exact, one by Go's scheduler up to 1 ms late
	defer runtime.UnlockOSThread()
	for i := range n {
		at := start.Add(time.Duration(float64(i) / rate * 1e9))
		if wait := time.Until(at); wait > 0 {
			ts := syscall.NsecToTimespec(wait.Nanoseconds())
			syscall.Nanosleep(&ts, nil)
		}
		var conn *clientConn
		select {
		case conn = <-idle:
		case <-ctx.Done():
		}
		if conn == nil {
			return
		}
		scheduled[conn] <- at
		conn.Write(c.request()) // an error shows again when the answer is read
	}
}
