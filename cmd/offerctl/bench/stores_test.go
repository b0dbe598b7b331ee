package bench

import (
	"testing"

	"offerstream/pipeline/event"
)

// TestStores lets a worker continue with the state that bench made. An event adds
// to it, which shows that the worker accepts the state as its own.
func TestStores(t *testing.T) {
	set, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	b := Run{dir: t.TempDir()}
	url, stop, err := part{Role: "nats", Dir: t.TempDir()}.start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	b.url = url
	if err := b.prepare(t.Context(), coldPrefix, set); err != nil {
		t.Fatal(err)
	}
	conn, err := b.connect(t.Context(), coldPrefix)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := userStores{dir: b.preparedBy(coldPrefix), prefix: coldPrefix, partitions: conn.Partitions, users: 300}
	if _, err := s.fill(set); err != nil {
		t.Fatal(err)
	}
	user := userKey(299)
	before := storedBytes(t, s, user)
	gateway, err := openGateway(t.Context(), conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	event := `{"batch":[{"type":"track","userId":"user-299","event":"Product Viewed","properties":{"product_id":"new","category":"new","brand":"new","price":1}}]}`
	if why := post(t.Context(), gateway, []byte(event)); why != "" {
		t.Fatal(why)
	}
	work, err := part{Role: "work", URL: url, Prefix: coldPrefix, Dir: s.dir, Keep: true}.result(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after := storedBytes(t, s, user); work.Events != 1 || after <= before {
		t.Errorf("%d events applied; the user's state had %d bytes, with one more event %d", work.Events, before, after)
	}
}

func storedBytes(t *testing.T, s userStores, key string) int {
	t.Helper()
	st, err := s.open(event.Partition(key, s.partitions))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	b, _, found, err := st.Entity(key, nil)
	if err != nil || !found {
		t.Fatalf("%s: found %v: %v", key, found, err)
	}
	return len(b)
}
