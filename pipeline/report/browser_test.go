package report

import (
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBrowser shows the page in a browser, at the width of a phone and of a large
// screen, in its light and its dark form: nothing may stick out to the side, each
// chart must have a size, and it must differ from the paper in colour.
func TestBrowser(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("this needs the browser chromium in PATH, for example Debian's package chromium")
	}
	dir := t.TempDir()
	for runs := 1; runs <= 2; runs++ {
		page := fmt.Sprintf("page%d.html", runs)
		if err := os.WriteFile(filepath.Join(dir, page), []byte(pageOf(t, runs)), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, width := range []int{360, 1600} {
			for _, dark := range []bool{false, true} {
				for _, wrong := range looked(t, chromium, dir, page, width, dark) {
					t.Errorf("%s at %d px, dark: %t: %s", page, width, dark, wrong)
				}
			}
		}
	}
}

// probe shows a page in a frame of a width, and writes what is wrong with it.
const probe = `<!doctype html><iframe id="frame" style="width:%dpx;height:2000px;border:0" src="%s"></iframe><pre id="wrong"></pre>
<script>
document.getElementById("frame").onload = e => {
  const d = e.target.contentDocument, wrong = []
  if (d.documentElement.scrollWidth > %d) wrong.push("the page is " + d.documentElement.scrollWidth + " px wide")
  const paper = getComputedStyle(d.body).backgroundColor
  for (const svg of d.querySelectorAll("svg")) {
    const box = svg.getBoundingClientRect()
    if (box.width < 40 || box.height < 8) wrong.push("a chart of class " + svg.getAttribute("class") + " is " + box.width + " x " + box.height)
    for (const r of svg.querySelectorAll("rect")) if (getComputedStyle(r).fill === paper) wrong.push("a bar has the colour of the paper")
  }
  if (d.querySelectorAll("svg.bars rect").length === 0) wrong.push("there is no bar")
  const sides = [...d.querySelectorAll(".sides.two")].map(s => getComputedStyle(s).gridTemplateColumns.split(" ").length)
  if (sides.some(n => n !== (%d < 800 ? 1 : 2))) wrong.push("the sides stand in " + sides + " columns")
  if (d.querySelectorAll("script").length) wrong.push("there is a script")
  document.getElementById("wrong").textContent = wrong.join("\n") || "nothing"
}
</script>`

func looked(t *testing.T, chromium, dir, page string, width int, dark bool) (wrong []string) {
	t.Helper()
	name := filepath.Join(dir, "probe.html")
	if err := os.WriteFile(name, fmt.Appendf(nil, probe, width, page, width, width), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--virtual-time-budget=10000", "--user-data-dir=" + filepath.Join(dir, "profile"), "--dump-dom"}
	if dark {
		args = append(args, "--blink-settings=preferredColorScheme=0", "--force-dark-mode")
	}
	out, err := exec.CommandContext(t.Context(), chromium, append(args, "file://"+name)...).Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	m := regexp.MustCompile(`(?s)<pre id="wrong">(.*?)</pre>`).FindSubmatch(out)
	if m == nil || len(m[1]) == 0 {
		t.Fatalf("the page was not shown: %.500s", out)
	}
	if text := html.UnescapeString(string(m[1])); text != "nothing" {
		return strings.Split(text, "\n")
	}
	return nil
}
