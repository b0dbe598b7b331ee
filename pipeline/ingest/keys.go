package ingest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"time"

	"offerstream/config"
)

// keysEvery is how often the file of keys is read, to see whether it has changed.
const keysEvery = 5 * time.Second

// A keyring holds the keys that are in force. A request uses the one that it began
// with.
type keyring struct {
	keys []config.Key
	sets *keySets
}

// find returns the key with a text, nil if there is none. How long it takes depends
// neither on the text nor on the keys, only on their number.
func (r *keyring) find(text string) *config.Key {
	if text == "" { // the hash of nothing may be in a file by mistake
		return nil
	}
	sum, found := sha256.Sum256([]byte(text)), -1
	for i := range r.keys {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], r.keys[i].Hash[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return &r.keys[found]
}

// A keysFile is the file of keys as it was last read.
type keysFile struct {
	name     string
	settings []config.Key // the other keys
	sum      [sha256.Size]byte
	sets     string // the content of the files that the keys name
	failed   string // the error that was last logged; "": the last reading did not fail
}

// loadKeys reads all keys at the start.
func (g *Gateway) loadKeys() error {
	keys, err := config.Keys(g.opt.WriteKeys, g.opt.ServerKeys)
	if err == nil {
		keys, err = config.JoinKeys(keys, g.opt.Keys)
	}
	if err != nil {
		return err
	}
	g.keysFile = keysFile{name: g.opt.KeysFile, settings: keys}
	if g.opt.KeysFile != "" {
		return g.readKeys()
	}
	return g.useKeys(keys, true)
}

// readKeys reads the file of keys and the files that its keys name, and puts them in force
// if any has changed.
func (g *Gateway) readKeys() error {
	f := &g.keysFile
	b, err := config.ReadKeysFile(f.name)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	keys := []config.Key(nil)
	if ring := g.keys.Load(); sum == f.sum && ring != nil {
		keys = ring.keys
	} else if keys, err = config.ParseKeys(f.name, b); err == nil {
		keys, err = config.JoinKeys(f.settings, keys)
	}
	if err == nil {
		err = g.useKeys(keys, sum != f.sum)
	}
	if err == nil {
		f.sum = sum
	}
	return err
}

// useKeys puts keys in force, if they or the files that they name have changed.
func (g *Gateway) useKeys(keys []config.Key, changed bool) error {
	if len(keys) == 0 {
		return errors.New("no key given: nobody could send events")
	}
	sets, text, err := readKeySets(keys)
	if err != nil || !changed && text == g.keysFile.sets {
		return err
	}
	g.keysFile.sets = text
	g.keys.Store(&keyring{keys, sets})
	return nil
}

// reloadKeys is readKeys while the gateway runs: after an error the keys that are
// in force stay so.
func (g *Gateway) reloadKeys() {
	f := &g.keysFile
	before := g.keys.Load()
	err := g.readKeys()
	switch {
	case err != nil:
		g.met.keyErrors.Inc()
		if err.Error() != f.failed {
			f.failed = err.Error()
			g.opt.Logger.Error("the file of keys cannot be read; the keys stay as they were", "error", err)
		}
		return
	case g.keys.Load() != before:
		g.letters.keep(g.keys.Load().keys)
		g.opt.Logger.Info("keys read again", "file", f.name, "keys", len(g.keys.Load().keys))
	case f.failed != "":
		g.opt.Logger.Info("the file of keys can be read again", "file", f.name)
	}
	f.failed = ""
}

// watchKeys calls reloadKeys from time to time, until ctx is done.
func (g *Gateway) watchKeys(ctx context.Context) {
	if g.keysFile.name == "" {
		return
	}
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.reloadKeys()
		case <-ctx.Done():
			return
		}
	}
}
