package deliver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// BenchmarkWebhooks tells how many webhooks go out a second, NATS, the owners that
// answer and the receiver in the same process. On one core:
//
//	go test ./pipeline/deliver -run '^$' -bench Webhooks -benchtime 20000x -cpu 1
func BenchmarkWebhooks(b *testing.B) {
	d := deploy(b)
	var got atomic.Int64
	all := make(chan struct{})
	to := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if got.Add(1) == int64(b.N) {
			close(all)
		}
	}))
	defer to.Close()
	for i := range b.N {
		d.offer(offerOf(fmt.Sprint(i), fmt.Sprint("user", i%1000)))
	}
	b.ResetTimer()
	d.start(Options{Receiver: Receiver{URL: to.URL, Preset: "webhook", Secret: SecretText(key)}})
	<-all
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "webhooks/s")
}
