package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestScript: what is served is made of the source as it is, is under 3 KB gzipped, and can
// be kept and checked.
func TestScript(t *testing.T) {
	source, err := os.ReadFile("offerstream.js")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("//%.12x\n", sha256.Sum256(source)); !strings.HasPrefix(string(scriptText), want[:14]) {
		t.Errorf("offerstream.min.js is of another offerstream.js: run go generate ./pipeline/page")
	}
	var zipped bytes.Buffer
	z, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	z.Write(scriptText)
	z.Close()
	if t.Logf("%d bytes, %d gzipped", len(scriptText), zipped.Len()); zipped.Len() >= 3<<10 {
		t.Errorf("it has %d bytes, gzipped", zipped.Len())
	}
	for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", ".style.", `"style"`, "EventSource"} {
		if bytes.Contains(scriptText, []byte(bad)) || bytes.Contains(source, []byte(bad)) {
			t.Errorf("it has %s", bad)
		}
	}
	get := func(path string, change ...string) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
		if len(change) > 0 {
			r.Header.Set("If-None-Match", change[0])
		}
		if !ServeScript(w, r, path) {
			t.Errorf("%s is not served", path)
		}
		return w
	}
	var info ScriptInfo
	if err := json.Unmarshal(get("/v1/offerstream.json").Body.Bytes(), &info); err != nil || info != Script {
		t.Errorf("%+v, %v", info, err)
	}
	w := get(info.Path)
	sum := sha512.Sum384(w.Body.Bytes())
	if info.Integrity != "sha384-"+base64.StdEncoding.EncodeToString(sum[:]) || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("%+v %v", info, w.Header())
	}
	if again := get("/v1/offerstream.js", w.Header().Get("ETag")); again.Code != 304 || strings.Contains(again.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("%d %v", again.Code, again.Header())
	}
	if types := get("/v1/offerstream.d.ts").Body.String(); !strings.Contains(types, "interface Offerstream") {
		t.Errorf("the types: %s", types)
	}
	if w := httptest.NewRecorder(); ServeScript(w, httptest.NewRequest("GET", "/v1/offerstream-000000000000.js", nil), "/v1/offerstream-000000000000.js") {
		t.Error("another version is served")
	}
}
