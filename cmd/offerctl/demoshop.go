package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"offerstream/cmd/offerctl/storefront"
	"offerstream/config"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
	"offerstream/pipeline/explain"
)

// pageKey is the key of the demo's shop page. It is no secret, as of any page; its secret,
// which signs user tokens, is new in each run.
const pageKey = "demo-page"

func newPageKey() config.Key {
	key := config.KeyOf("demo page", pageKey, event.Browser)
	key.Secret = []byte(rand.Text())
	return key
}

// runCouponKey makes a key of coupons for this run, so that the shop's checkout can redeem
// their codes. A directory that is kept would need it again.
func runCouponKey() (*coupon.Keys, string, error) {
	secret := make([]byte, coupon.KeySize)
	rand.Read(secret)
	key, err := coupon.NewKey(secret)
	if err != nil {
		return nil, "", err
	}
	keys, err := coupon.Parse(key.Text())
	return keys, key.ID(), err
}

// redeem uses a coupon for an order, as a shop's checkout does. It returns why it cannot be
// used, "" if it is.
func (d *demoRun) redeem(ctx context.Context, user, code, order string) (why string, err error) {
	body, err := json.Marshal(map[string]string{"code": code, "userId": user, "orderId": order})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+reachable(d.node.addr)+"/v1/coupons/redeem", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(demoKey, "")
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var said struct{ Error string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4<<10)).Decode(&said); err != nil {
		return "", fmt.Errorf("redeeming a coupon: %s: %w", resp.Status, err)
	}
	if resp.StatusCode == http.StatusOK {
		return "", nil
	}
	return cmp.Or(said.Error, resp.Status), nil
}

// serveShop serves the demo's shop until the function that it returns is called.
func (d *demoRun) serveShop(page config.Key) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", freeOr("127.0.0.1:8090"))
	if err != nil {
		return "", nil, fmt.Errorf("demo shop: %w", err)
	}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(d.node.opt.log.Handler(), slog.LevelDebug),
		Handler: storefront.New(storefront.Options{
			Gateway: "http://" + reachable(d.node.addr), Key: pageKey, Secret: page.Secret, Products: shopProducts(), Send: d.sendAsServer, Redeem: d.redeem, Why: d.why,
		})}
	go srv.Serve(l)
	return "http://" + l.Addr().String(), func() { srv.Close() }, nil
}

// reachable is an address of this machine at which a browser reaches a listener.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// shopProducts are some of those that the simulated shoppers look at, and all hotels and jobs.
func shopProducts() (all []storefront.Product) {
	for _, category := range []string{"bag", "shoes", "dress", "watch", "bicycle", "phone"} {
		for n := 1; n <= 8; n++ {
			p := productOf(category, n)
			all = append(all, storefront.Product(p))
		}
	}
	for n := range listings {
		all = append(all, hotelOf(n))
	}
	for n := range listings {
		all = append(all, jobOf(n))
	}
	return all
}

// sendAsServer sends events as the shop's server does.
func (d *demoRun) sendAsServer(ctx context.Context, events ...any) error {
	var batch [][]byte
	for _, e := range events {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		batch = append(batch, b)
	}
	return newSender("http://"+reachable(d.node.addr), demoKey).batch(ctx, batch)
}

// why tells what has become of a user's events, as offerctl explain does, but with this
// machine's times, which are the browser's too.
func (d *demoRun) why(ctx context.Context, key string) (*explain.Story, error) {
	stories, err := logStories(ctx, d.node.conn, nil, []string{key}, explain.Query{Newest: 3, Zone: time.Local}, 0, stdio{err: io.Discard})
	if err != nil || len(stories) == 0 {
		return nil, err
	}
	return stories[0], nil
}
