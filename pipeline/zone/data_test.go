package zone

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestHash: the data are those that the engine's number stands for.
func TestHash(t *testing.T) {
	sum := sha256.Sum256([]byte(data))
	if got := hex.EncodeToString(sum[:]); got != Hash {
		t.Errorf(`the hash of zoneinfo.zip is %s, not Hash.
Other rules of zones can change offers that were sent: give the engine a new
number, and set Hash.`, got)
	}
}

// TestNames: exactly the names of the IANA database are known, and every zone can
// be loaded, from several goroutines at once.
func TestNames(t *testing.T) {
	names := Names()
	if len(names) < 590 || !slices.IsSorted(names) {
		t.Errorf("%d names, sorted: %v", len(names), slices.IsSorted(names))
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for _, name := range names {
				loc, ok := Load(name)
				if again, _ := Load(name); !ok || loc.String() != name || again != loc || !Known(name) {
					t.Errorf("%s: %v, %v", name, loc, ok)
				}
			}
		})
	}
	all.Wait()
	for _, name := range []string{"UTC", "Asia/Seoul", "America/Argentina/Buenos_Aires", "Etc/GMT+9"} {
		if !Known(name) {
			t.Errorf("%s is not known", name)
		}
	}
	for _, name := range []string{"", "Local", "utc", "asia/seoul", "Asia/Seoul ", "Asia", "Asia/", "/Asia/Seoul", "../UTC", "KST", "+09:00"} {
		if loc, ok := Load(name); ok || loc != nil || Known(name) {
			t.Errorf("%q is known as %v", name, loc)
		}
	}
}

// TestHost: neither the environment nor the host's zone has influence. It runs
// itself again where both lie: ZONEINFO says that Seoul has the clock of New York.
func TestHost(t *testing.T) {
	const child = "OFFERSTREAM_TEST_ZONES"
	if os.Getenv(child) == "" {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "Asia"), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := sources()["America/New_York"].file.Open()
		if err != nil {
			t.Fatal(err)
		}
		lie := make([]byte, sources()["America/New_York"].file.UncompressedSize64)
		if _, err := io.ReadFull(f, lie); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "Asia", "Seoul"), lie, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestHost$")
		cmd.Env = append(os.Environ(), child+"=1", "ZONEINFO="+dir, "TZ=America/New_York")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	if lied, err := time.LoadLocation("Asia/Seoul"); err != nil || at.In(lied).Hour() != 8 {
		t.Fatalf("the lie is not believed (%v), so that this test shows nothing", err)
	}
	time.Local = time.FixedZone("nowhere", 5*3600)
	for name, want := range map[string]int{"Asia/Seoul": 21, "UTC": 12, "America/New_York": 8} {
		loc, ok := Load(name)
		if !ok {
			t.Fatalf("%s is not known", name)
		}
		if hour, _, _, _ := Local(at.UnixNano(), loc); hour != want || HourOfWeek(at.UnixNano(), loc) != 48+want {
			t.Errorf("in %s it is %d o'clock, want %d", name, hour, want)
		}
	}
	if _, ok := Load("Local"); ok {
		t.Error("the host's zone is known")
	}
}
