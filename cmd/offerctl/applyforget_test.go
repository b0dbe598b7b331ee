package main

import (
	"strings"
	"testing"
)

// TestApplyForget: a set that forgets earlier than the logs do is refused, also by a
// node that would start with it.
func TestApplyForget(t *testing.T) {
	t.Parallel()
	s := newOwnerStub(t, 2)
	early := strings.Replace(beforeSet, "features:", "forget: {anonymous: 6d}\nfeatures:", 1)
	s.apply(t, 1, "", []string{file(t, "set.yaml", early), "--yes"}, "forget.anonymous is 6d, and the log keeps events for 7d: ", "forget after 7d or later")
	s.apply(t, 0, "", []string{file(t, "set.yaml", early), "--dry-run"}, "apply would be refused: forget.anonymous is 6d")
	if live := s.record(t); live.Set != "" {
		t.Errorf("set %s is live", live.Set)
	}
	s.apply(t, 0, "", []string{file(t, "set.yaml", strings.Replace(early, "6d", "7d", 1)), "--yes"})
	def, err := loadSet("", file(t, "set.yaml", early))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := startSet(t.Context(), s.conn, nodeOptions{set: def}); err == nil || !strings.Contains(err.Error(), "forget.anonymous is 6d") {
		t.Errorf("a node starts with it: %v", err)
	}
}
