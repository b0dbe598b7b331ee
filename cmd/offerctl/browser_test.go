package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A browser is a page in Chromium, which is told what to do over a pipe, with the DevTools
// protocol: messages of JSON, each ended by a zero byte.
type browser struct {
	t       *testing.T
	in      io.Writer
	out     *bufio.Reader
	id      int
	session string
	until   time.Time
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("this needs the browser chromium in PATH, for example Debian's package chromium")
	}
	toRead, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, toWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := os.MkdirTemp("", "offerctl-browser-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+profile, "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{toRead, toWrite} // 3 and 4 in the process
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	toRead.Close()
	toWrite.Close()
	b := &browser{t: t, in: in, out: bufio.NewReader(out), until: time.Now().Add(2 * time.Minute)}
	out.SetReadDeadline(b.until.Add(10 * time.Second))
	t.Cleanup(func() {
		b.session = ""
		if b.try("Browser.close", map[string]any{}, nil) != nil {
			cancel()
		}
		cmd.Wait()
		cancel()
		in.Close()
		out.Close()
		os.RemoveAll(profile) // its processes may still write there: then something stays in the system's directory
	})
	var made struct{ TargetID, SessionID string }
	b.do("Target.createTarget", map[string]any{"url": "about:blank"}, &made)
	b.do("Target.attachToTarget", map[string]any{"targetId": made.TargetID, "flatten": true}, &made)
	b.session = made.SessionID
	return b
}

// do makes the browser do something. Events, which it tells between, are left out.
func (b *browser) do(method string, params, result any) {
	b.t.Helper()
	if err := b.try(method, params, result); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
}

func (b *browser) try(method string, params, result any) error {
	b.id++
	message := map[string]any{"id": b.id, "method": method, "params": params}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if _, err := b.in.Write(append(line, 0)); err != nil {
		return err
	}
	for {
		line, err := b.out.ReadBytes(0)
		if err != nil {
			return err
		}
		var answer struct {
			ID     int
			Error  *struct{ Message string }
			Result json.RawMessage
		}
		switch err := json.Unmarshal(line[:len(line)-1], &answer); {
		case err != nil:
			return err
		case answer.ID != b.id:
		case answer.Error != nil:
			return fmt.Errorf("%s", answer.Error.Message)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(answer.Result, result)
		}
	}
}

// open opens an address.
func (b *browser) open(url string) {
	b.t.Helper()
	b.do("Page.navigate", map[string]any{"url": url}, nil)
	b.await(fmt.Sprintf("location.href === %q && document.readyState === 'complete'", url))
}

// eval is what an expression of the page is, as text. While another page is being loaded
// there is none.
func (b *browser) eval(expr string) (string, error) {
	var got struct {
		Result           struct{ Value any }
		ExceptionDetails any
	}
	err := b.try("Runtime.evaluate", map[string]any{"expression": expr, "awaitPromise": true, "returnByValue": true}, &got)
	if err == nil && got.ExceptionDetails != nil {
		err = fmt.Errorf("%s: %v", expr, got.ExceptionDetails)
	}
	return fmt.Sprint(got.Result.Value), err
}

// await waits until an expression of the page is true.
func (b *browser) await(expr string) {
	b.t.Helper()
	was := ""
	for time.Now().Before(b.until) {
		got, err := b.eval(expr)
		if err == nil && got == "true" {
			return
		}
		was = fmt.Sprint(got, " ", err)
		time.Sleep(20 * time.Millisecond)
	}
	text, _ := b.eval("location + '\\n' + document.body.innerText")
	b.t.Fatalf("the page does not come to %s, it is %s\n%s", expr, was, text)
}

// press presses a key, such as Tab, or types a letter.
func (b *browser) press(key string) {
	b.t.Helper()
	code := map[string]int{"Tab": 9, "Enter": 13, "Escape": 27}[key]
	down := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code}
	switch {
	case code == 0:
		down = map[string]any{"type": "keyDown", "key": key, "text": key}
	case key == "Enter":
		down["text"] = "\r"
	}
	b.do("Input.dispatchKeyEvent", down, nil)
	up := map[string]any{"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}
	_ = b.try("Input.dispatchKeyEvent", up, nil) // the page may have gone
}

// to moves the focus with Tab to the element that a selector finds.
func (b *browser) to(selector string) {
	b.t.Helper()
	for range 80 {
		if got, err := b.eval(fmt.Sprintf("document.activeElement?.matches(%q)", selector)); err == nil && got == "true" {
			return
		}
		b.press("Tab")
	}
	b.t.Fatalf("Tab does not come to %s", selector)
}

// look sets the window's size and colours, and keeps a picture of the whole page in the
// test's artifacts (go test -artifacts).
func (b *browser) look(name string, width, height int, colors string) {
	b.t.Helper()
	b.do("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
	b.do("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": colors}}}, nil)
	var got struct{ Data string }
	b.do("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": false}, &got)
	picture, err := base64.StdEncoding.DecodeString(got.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), picture, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if wide, err := b.eval(fmt.Sprintf("document.documentElement.scrollWidth <= %d", width)); err != nil || wide != "true" {
		b.t.Errorf("%s: the page is wider than the window, %v", name, err)
	}
}
