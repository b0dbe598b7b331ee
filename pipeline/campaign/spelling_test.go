package campaign

import "testing"

// TestSpellDuration: the words and forms in which people write durations.
func TestSpellDuration(t *testing.T) {
	for s, want := range map[string]string{
		"1 day": "write 1d", "2w": "write 14d", "1개월": "write 30d", "1 hour": "write 1h", "24 h": "write 1d", "1d 12h": "write 1d12h", "1 hour 30 minutes": "write 1h30m", "1 hour, 30 min": "write 1h30m", "2 hours and 5 minutes": "write 2h5m",
		"3일": "write 3d", "2 시간": "write 2h", "1시간 30분": "write 1h30m", "30분": "write 30m", "2주": "write 14d", "1년": "write 365d", "10초": "write 10s", "1 month": "write 30d", "1mo": "write 30d", "a week": "write 7d", "one hour": "write 1h", "an hour": "write 1h",
		"1H": "write 1h", "30 Min.": "write 30m", "PT1H": "write 1h", "P1DT12H": "write 1d12h", "p1m": "write 30d", "00:30:00": "write 30m", "1:30": "write 1h30m", "1.5 days": "write 1d12h", "5 m": "write 5m", "１時間": "write 1h", "30\u00a0m": "write 30m",
		"30": "a unit is missing: 30s, 30m, 30h or 30d", " 7 ": "a unit is missing: 7s, 7m, 7h or 7d", "soon": "", "": "", "1 fortnight": "", "1 day hour": "", "-1 day": "", "day": "", "P": "", "1000 years": "",
	} {
		if got := SpellDuration(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
		if d, ok := spelled(s); ok && want != "" && d > 0 {
			if back, err := ParseDuration(FormatDuration(d)); err != nil || back != d {
				t.Errorf("%q: what is to be written reads as %v, %v", s, back, err)
			}
		}
	}
}

// TestLookalike: each character is named, and none is one that is meant.
func TestLookalike(t *testing.T) {
	for r, want := range map[rune]string{'“': `write "`, '’': `write "`, '：': "write :", '，': "write ,", '［': "write [", '（': "write (", '≥': "write >=", '–': "write -", '\u00a0': "write a space", '\u3000': "write a space", '\u2009': "write a space", '\u200b': "remove it", '０': "write 0", '＂': `write "`} {
		c, ok := Lookalike(r)
		if _, hint := c.Says(); !ok || hint != want || c.Rune != r || c.Name == "" {
			t.Errorf("%c: %+v, %s, want %s", r, c, hint, want)
		}
	}
	for r := rune(0); r < 0x80; r++ {
		if _, ok := Lookalike(r); ok {
			t.Errorf("%q is a lookalike", r)
		}
	}
	for _, r := range "한字é상" {
		if _, ok := Lookalike(r); ok {
			t.Errorf("%c is a lookalike", r)
		}
	}
}
