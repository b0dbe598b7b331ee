package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A stub is a shell script in place of a program: it records how it was called,
// and answers the n-th call of bench with the n-th line of a file.
const stub = `#!/bin/sh
dir=$(dirname "$0")
name=$(basename "$0")
echo "$name $*" >>"$dir/calls"
if [ "$2" = --help ]; then cat "$dir/$name.help"; exit; fi
echo "what is said before is no matter"
sed -n "$(grep -c "^$name bench --json" "$dir/calls")p" "$dir/$name.lines"
`

// newStub makes a stub with these answers, and returns its path.
func newStub(t *testing.T, dir, name, help string, lines ...string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	for file, text := range map[string]string{path: stub, path + ".help": help, path + ".lines": strings.Join(lines, "\n") + "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// calls returns how the stubs in a directory were called.
func calls(t *testing.T, dir string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// TestAgainst compares ten pairs in which this program's rate is 1.1 to 2 times
// the other's, and its latency is the same except for noise.
func TestAgainst(t *testing.T) {
	var these, others []string
	for i := range 10 {
		rate := 200 + 20*((i*7)%10+1) // 220 to 400, in no order
		noise := 9 + i%3
		these = append(these, fmt.Sprintf(`{"worker_per_s":%d,"live":{"p99_ms":%d},"only_this":1,"kind":"a","waits":%d}`, rate, noise, i))
		others = append(others, `{"worker_per_s":200,"live":{"p99_ms":10,"more":2},"kind":"b","waits":0}`)
	}
	dir := t.TempDir()
	var progress bytes.Buffer
	a := Against{This: newStub(t, dir, "this", "", these...), Other: newStub(t, dir, "other", "", others...),
		Args: []string{"--events=5000", "--gateway=true"}, Pairs: 10, Progress: &progress}
	c, err := a.Compare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, call := range calls(t, dir) {
		if want := []string{"this", "other", "other", "this"}[i%4] + " bench --json --events=5000 --gateway=true"; call != want {
			t.Errorf("call %d is %q, want %q", i, call, want)
		}
	}
	got, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"against":%q,"pairs":10,"keys":{"live.p99_ms":{"this":10,"other":10,"ratio":1,"low":0.9,"high":1.1},`+
		`"worker_per_s":{"this":310,"other":200,"ratio":1.55,"low":1.2,"high":1.9}}}`, a.Other)
	if string(got) != want {
		t.Errorf("found\n%s, want\n%s", got, want)
	}
	lines := strings.Split(progress.String(), "\n")
	if len(lines) != 11 || !strings.HasPrefix(lines[9], "pair 10 of 10: this/other so far: worker_per_s 1.550; about 0s left") {
		t.Errorf("progress is\n%s", progress.String())
	}
	var table bytes.Buffer
	c.Print(&table)
	for _, want := range []string{
		"worker_per_s                              310          200      1.550    1.200 to 1.900   differs\n",
		"live.p99_ms                                10           10      1.000    0.900 to 1.100\n",
		"from the 2nd to the 9th", "98 %", "because the other's number is 0: waits.",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, table.String())
		}
	}
}

// An older program that does not know --worker measures everything.
func TestAgainstOlder(t *testing.T) {
	for help, flags := range map[string]string{"  --events N\n": "--users=9", "  --worker\n": "--users=9 --worker=true"} {
		dir := t.TempDir()
		a := Against{This: newStub(t, dir, "this", "", `{"ratio":3}`), Other: newStub(t, dir, "other", help, `{"ratio":2,"live":{"p99_ms":1}}`),
			Args: []string{"--users=9", workerArg}, Pairs: 1, Progress: &bytes.Buffer{}}
		c, err := a.Compare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := "other bench --help\nthis bench --json --users=9 --worker=true\nother bench --json " + flags
		if got := strings.Join(calls(t, dir), "\n"); got != want || c.Keys["ratio"].Ratio != 1.5 {
			t.Errorf("%+v after\n%s\nwant\n%s", c, got, want)
		}
	}
}

// An error that ends a comparison contains the program's own message.
func TestAgainstFails(t *testing.T) {
	dir := t.TempDir()
	this := newStub(t, dir, "this", "", `{"ratio":3}`, `{"ratio":3}`, `{"ratio":3}`, `{"ratio":3}`)
	failing := filepath.Join(dir, "failing")
	if err := os.WriteFile(failing, []byte("#!/bin/sh\necho the disk is full >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for other, want := range map[string]string{
		failing:                                       failing + " bench --json: exit status 3\nthe disk is full",
		filepath.Join(dir, "absent"):                  "no such file",
		newStub(t, dir, "text", "", "no JSON"):        `the last line of ` + filepath.Join(dir, "text") + ` is not a JSON object: "no JSON"`,
		newStub(t, dir, "alien", "", `{"other":"x"}`): "no key with a number in common",
	} {
		_, err := Against{This: this, Other: other, Pairs: 1, Progress: &bytes.Buffer{}}.Compare(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", other, err, want)
		}
	}
}

// The intervals are those of statistical tables, and as narrow as possible.
func TestMedianRank(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 1, 5: 1, 6: 1, 8: 1, 9: 2, 10: 2, 11: 2, 12: 3, 15: 4, 20: 6, 25: 8, 100: 40, 1000: 469} {
		k, confidence := medianRank(n)
		if k != want || n >= 6 && (confidence < .95 || confidence > 1) {
			t.Errorf("of %d the %d. with %.3f, want the %d.", n, k, confidence, want)
		}
	}
	if _, confidence := medianRank(10); confidence != 1-2*11./1024 {
		t.Errorf("ten pairs have a confidence of %f", confidence)
	}
}
