package report

import (
	"fmt"
	"html"
	"html/template"
	"strings"
)

// The charts are SVG without a size of their own: the page's style sheet gives them
// width, height and colours. Their texts are titles, which a reader sees when
// pointing at a part, and which screen readers speak.

// timeChart shows bars over time. All charts of a campaign have the same top, so that
// two runs can be compared.
func timeChart(bars []bar, top uint64) template.HTML {
	const width, height, gap = 960, 120, 1
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="bars" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="offers over time">`, width, height)
	each := float64(width) / float64(max(len(bars), 1))
	for i, x := range bars {
		if x.N == 0 {
			continue
		}
		h := float64(height) * float64(x.N) / float64(max(top, 1))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s to %s: %d</title></rect>`,
			float64(i)*each, height-h, max(each-gap, 0.5), h, x.From.Format("2006-01-02 15:04"), x.To.Format("15:04"), x.N)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// weekdays are the rows of the chart of the week.
var weekdays = [7]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}

// weekChart shows the offers by hour of the week.
func weekChart(h *hours) template.HTML {
	const cell = 10
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="week" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="offers by hour of the week">`, 24*cell, 7*cell)
	for day := range weekdays {
		for hour := range 24 {
			n, most := uint64(0), uint64(1)
			if h != nil {
				n, most = h.ofWeek[day][hour], max(h.most, 1)
			}
			shade := 0.0
			if n > 0 {
				shade = 0.15 + 0.85*float64(n)/float64(most)
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" class="none"/>`, hour*cell, day*cell, cell-1, cell-1)
			if n > 0 {
				fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" opacity="%.2f"><title>%s %02d:00: %d</title></rect>`, hour*cell, day*cell, cell-1, cell-1, shade, weekdays[day], hour, n)
			}
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// share is a bar of a part of a whole, for the funnel.
func share(n, of uint64, class string) template.HTML {
	const width = 1000
	w := 0.0
	if of > 0 {
		w = float64(width) * float64(n) / float64(of)
	}
	return template.HTML(fmt.Sprintf(`<svg class="share %s" viewBox="0 0 %d 10" preserveAspectRatio="none" aria-hidden="true"><rect class="none" width="%d" height="10"/><rect width="%.1f" height="10"/></svg>`,
		html.EscapeString(class), width, width, w))
}
