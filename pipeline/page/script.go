package page

import "net/http"

// ServeScript answers the paths of the page's script.
func ServeScript(w http.ResponseWriter, r *http.Request, path string) bool { return false }
