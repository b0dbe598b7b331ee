package config

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// An editor is the YAML language server of real editors, and speaks the Language
// Server Protocol with it. Lines and columns count from 0 there.
type editor struct {
	t       *testing.T
	in      io.Writer
	answers chan map[string]any
	last    int // id of a request
}

// startEditor starts the server, which `npm install yaml-language-server` installs,
// in a directory.
func startEditor(t *testing.T, dir string) *editor {
	t.Helper()
	const server = "yaml-language-server"
	path, err := exec.LookPath(server)
	if err != nil {
		t.Skipf("%s is not in PATH: npm install --prefix DIR %s, and DIR/node_modules/.bin in PATH", server, server)
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skipf("%s needs node, which is not in PATH", server)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute) // only a server that hangs takes so long
	cmd := exec.CommandContext(ctx, path, "--stdio")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e := &editor{t: t, in: in, answers: make(chan map[string]any, 64)}
	go e.read(bufio.NewReader(out))
	t.Cleanup(func() {
		stop()
		for range e.answers { // until the server's output ends
		}
		_ = cmd.Wait() // it was killed
	})
	e.ask("initialize", map[string]any{"processId": os.Getpid(), "rootUri": "file://" + dir, "capabilities": map[string]any{}})
	e.tell("initialized", map[string]any{})
	e.tell("workspace/didChangeConfiguration", map[string]any{"settings": map[string]any{"yaml": map[string]any{
		"validate": true, "hover": true, "completion": true, "schemaStore": map[string]any{"enable": false}}}})
	return e
}

// read takes the server's messages until it ends.
func (e *editor) read(out *bufio.Reader) {
	defer close(e.answers)
	for {
		length := 0
		for {
			line, err := out.ReadString('\n')
			if err != nil {
				return
			}
			if line = strings.TrimSpace(line); line == "" {
				break
			}
			_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(out, body); err != nil {
			return
		}
		var m map[string]any
		if json.Unmarshal(body, &m) == nil {
			e.answers <- m
		}
	}
}

func (e *editor) send(m map[string]any) {
	e.t.Helper()
	m["jsonrpc"] = "2.0"
	b, err := json.Marshal(m)
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(e.in, "Content-Length: %d\r\n\r\n%s", len(b), b); err != nil {
		e.t.Fatal(err)
	}
}

func (e *editor) tell(method string, params any) {
	e.t.Helper()
	e.send(map[string]any{"method": method, "params": params})
}

// await returns the first message of the server that is wanted, and answers its own
// requests with null.
func (e *editor) await(wanted func(m map[string]any) bool) map[string]any {
	e.t.Helper()
	for m := range e.answers {
		switch {
		case wanted(m):
			return m
		case m["id"] != nil && m["method"] != nil:
			e.send(map[string]any{"id": m["id"], "result": nil})
		}
	}
	e.t.Fatal("the language server ended, or hangs")
	return nil
}

func (e *editor) ask(method string, params any) any {
	e.t.Helper()
	e.last++
	e.send(map[string]any{"id": e.last, "method": method, "params": params})
	m := e.await(func(m map[string]any) bool { return m["id"] == float64(e.last) && m["method"] == nil })
	if m["error"] != nil {
		e.t.Fatalf("%s: %v", method, m["error"])
	}
	return m["result"]
}

// open opens a file, and returns what is marked in it, each as line:column and text.
func (e *editor) open(uri, text string) (marks []string) {
	e.t.Helper()
	e.tell("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": uri, "languageId": "yaml", "version": 1, "text": text}})
	m := e.await(func(m map[string]any) bool {
		p, _ := m["params"].(map[string]any)
		return m["method"] == "textDocument/publishDiagnostics" && p["uri"] == uri
	})
	for _, d := range m["params"].(map[string]any)["diagnostics"].([]any) {
		d := d.(map[string]any)
		at := d["range"].(map[string]any)["start"].(map[string]any)
		marks = append(marks, fmt.Sprintf("%v:%v %v", at["line"], at["character"], d["message"]))
	}
	slices.Sort(marks)
	return marks
}

func at(uri string, line, col int) map[string]any {
	return map[string]any{"textDocument": map[string]any{"uri": uri}, "position": map[string]any{"line": line, "character": col}}
}

// completions are what the editor offers at a place.
func (e *editor) completions(uri string, line, col int) (labels []string) {
	e.t.Helper()
	r := e.ask("textDocument/completion", at(uri, line, col))
	if m, ok := r.(map[string]any); ok {
		r = m["items"]
	}
	items, _ := r.([]any)
	for _, i := range items {
		labels = append(labels, i.(map[string]any)["label"].(string))
	}
	return labels
}

// TestEditor drives the language server with which editors read YAML: the schema
// that a campaign file names in its first line completes keys, shows what they mean,
// and marks mistakes.
func TestEditor(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "campaigns.schema.json"), Schema(), 0o600); err != nil {
		t.Fatal(err)
	}
	e := startEditor(t, dir)
	const modeline = "# yaml-language-server: $schema=campaigns.schema.json\n"
	uri := func(name string) string { return "file://" + filepath.Join(dir, name) }

	// Lines count from 0; the first is the modeline.
	good := uri("good.yaml")
	if marks := e.open(good, modeline+`features:
  views: {on: Product Viewed, agg: count}
campaigns:
  bags:
    on: Product Viewed
    fresh: 2m
    if: [views > 3, nothing_is_named_so]
    
    offer:
      channel: web
      
`); len(marks) > 0 {
		t.Errorf("a file that the schema accepts: %v", marks)
	}
	for _, c := range []struct {
		line, col int
		want      []string
		not       string
	}{
		{8, 4, []string{"unless", "limits", "when_due", "holdout", "period"}, "fresh"},
		{11, 6, []string{"kind", "expires", "coupon", "data"}, "channel"},
		{12, 0, []string{"policies", "facts", "zone"}, "campaigns"},
	} {
		got := e.completions(good, c.line, c.col)
		for _, w := range c.want {
			if !slices.Contains(got, w) {
				t.Errorf("at %d:%d %q is not offered: %q", c.line, c.col, w, got)
			}
		}
		if slices.Contains(got, c.not) {
			t.Errorf("at %d:%d %q is offered", c.line, c.col, c.not)
		}
	}
	if hover := fmt.Sprint(e.ask("textDocument/hover", at(good, 6, 6))); !strings.Contains(hover, "an older event triggers nothing") {
		t.Errorf("over `fresh` stands %s", hover)
	}

	bad := uri("bad.yaml")
	marks := e.open(bad, modeline+`features:
  views: {on: Product Viewed, agg: cuont}
campaigns:
  bags:
    on: Product Viewed
    frish: 2m
    offer: {channel: web, kind: spam, expires: soon, coupon: {expires: soon}}
    limits: [{max: 0}]
`)
	for _, want := range []string{"2:35 Value is not accepted", "6:4 Property frish is not allowed", "7:32 Value is not accepted", `7:4 Missing property "at_most"`, "8:19 ", "7:71 a duration such as 90s"} {
		if !slices.ContainsFunc(marks, func(m string) bool { return strings.HasPrefix(m, want) }) {
			t.Errorf("nothing is marked as %q: %q", want, marks)
		}
	}
	if got := e.completions(bad, 2, 35); !slices.Contains(got, "count") || !slices.Contains(got, "histogram") {
		t.Errorf("for `agg` are offered %q", got)
	}

	// The files that are shipped have nothing to mark.
	sets, err := FindSets("../deploy/campaigns")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sets {
		for _, name := range s.Files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if marks := e.open(uri(filepath.Base(name)), modeline+string(b)); len(marks) > 0 {
				t.Errorf("%s: %q", name, marks)
			}
		}
	}
}
