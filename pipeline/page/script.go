package page

import (
	"crypto/sha256"
	"crypto/sha512"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
)

// The page's script. offerstream.min.js begins with a comment that has the hash of the
// source that it was made of, so that a test notices an old one.
//
//go:generate sh -c "{ echo //$(sha256sum offerstream.js | cut -c1-12); go run github.com/evanw/esbuild/cmd/esbuild@v0.28.2 --minify --target=es2022 offerstream.js; } > offerstream.min.js"

//go:embed offerstream.min.js
var scriptText []byte

//go:embed offerstream.d.ts
var scriptTypes []byte

// A ScriptInfo says how a page loads the script.
type ScriptInfo struct {
	Path      string `json:"path"`      // of this very version: it never changes, and can be kept for ever
	Integrity string `json:"integrity"` // for the attribute of this name
	Bytes     int    `json:"bytes"`
}

// Script is the script that this program serves.
var Script = func() ScriptInfo {
	version, sum := sha256.Sum256(scriptText), sha512.Sum384(scriptText)
	return ScriptInfo{"/v1/offerstream-" + hex.EncodeToString(version[:6]) + ".js", "sha384-" + base64.StdEncoding.EncodeToString(sum[:]), len(scriptText)}
}()

// Tag is the element that loads the script into a page. gateway is the gateway's address.
func (s ScriptInfo) Tag(gateway, key string) string {
	return `<script src="` + gateway + s.Path + `" integrity="` + s.Integrity + `" crossorigin="anonymous" defer data-key="` + key + `"></script>`
}

// ServeScript answers the paths of the page's script. It returns false for any other path.
func ServeScript(w http.ResponseWriter, r *http.Request, path string) bool {
	kind, body, keep := "text/javascript; charset=utf-8", scriptText, "public, max-age=300"
	switch path {
	case Script.Path:
		keep = "public, max-age=31536000, immutable"
	case "/v1/offerstream.js":
	case "/v1/offerstream.d.ts":
		kind, body = "text/plain; charset=utf-8", scriptTypes
	case "/v1/offerstream.json":
		kind = "application/json"
		body, _ = json.Marshal(Script) // it has texts and a number
	default:
		return false
	}
	sum := sha256.Sum256(body)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	h := w.Header()
	h.Set("Cache-Control", keep)
	h.Set("ETag", etag)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.Header.Get("If-None-Match") == etag:
		w.WriteHeader(http.StatusNotModified)
	default:
		h.Set("Content-Type", kind)
		h.Set("Content-Length", strconv.Itoa(len(body)))
		if r.Method == http.MethodGet {
			w.Write(body)
		}
	}
	return true
}
