package pipeline

// Scenarios run on the core alone, as pure as it is.
func init() {
	arrows["pipeline/scenario"] = []string{"offerstream/state", "offerstream/config", "offerstream/pipeline/broker", "offerstream/pipeline/worker",
		"offerstream/pipeline/ingest", "offerstream/cmd", "os", "net/http", "io/fs", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "path/filepath"}
}
