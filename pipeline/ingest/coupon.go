package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"offerstream/config"
	"offerstream/pipeline"
	"offerstream/pipeline/coupon"
	"offerstream/pipeline/event"
)

// coupon.go is what a shop's checkout asks:
//
//	POST /v1/coupons/redeem  {"code":..,"userId":..,"orderId":..}   use the code for the order
//	POST /v1/coupons/void    {"code":..,"userId":..,"orderId":..}   the order is cancelled
//	GET  /v1/coupons/<code>?userId=..                                what is known of it
//
// A POST stores an event as every other one, whose messageId is made of what it says.
// Then the gateway asks the partition's owner what that has come to (Log.Coupon): the
// fold decides, so of two requests at once one is valid, and the same request again has
// the same answer.

// couponWait is how long a request waits, in all.
const couponWait = 2 * time.Second

// couponPath begins the paths.
const couponPath = "/v1/coupons/"

// couponEvents are the events that the paths store.
var couponEvents = map[string]string{couponPath + "redeem": pipeline.CouponRedeemed, couponPath + "void": pipeline.CouponVoided}

var _ = add(&dialect{
	routes: map[string]route{couponPath + "redeem": {def: event.System, coupon: true}, couponPath + "void": {def: event.System, coupon: true}},
	text:   couponText,
})

// A couponRequest is what a body asks for.
type couponRequest struct {
	user, code, order string
}

type couponKey struct{} // of the couponRequest in a request's context, which couponText fills in

// couponText makes the event of a body.
func couponText(r *http.Request, body []byte) ([]byte, error) {
	var given struct {
		Code, UserID, OrderID any
		WriteKey              string `json:"writeKey,omitempty"`
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&given); err != nil || dec.More() {
		return nil, bad("json", errors.New(`the body is not {"code": .., "userId": .., "orderId": ..}`))
	}
	is := couponRequest{}
	for _, m := range []struct {
		name  string
		value any
		to    *string
		most  int
	}{{"code", given.Code, &is.code, event.MaxUserBytes / 2}, {"userId", given.UserID, &is.user, event.MaxUserBytes}, {"orderId", given.OrderID, &is.order, event.MaxUserBytes / 2}} {
		switch v := m.value.(type) {
		case string:
			*m.to = v
		case json.Number:
			if !strings.ContainsAny(v.String(), ".eE") {
				*m.to = v.String()
			}
		}
		if *m.to == "" || len(*m.to) > m.most {
			return nil, bad("coupon_fields", fmt.Errorf("%s is missing, or is no text of 1 to %d bytes", m.name, m.most))
		}
	}
	if to, ok := r.Context().Value(couponKey{}).(*couponRequest); ok {
		*to = is
	}
	name := couponEvents[pathOf(r)]
	ev := map[string]any{
		"type": event.System.String(), "event": name, "userId": is.user, "messageId": couponID(name, is),
		"properties": map[string]string{"code": is.code, "orderId": is.order},
	}
	if given.WriteKey != "" { // by which its key is found; it is not stored
		ev["writeKey"] = given.WriteKey
	}
	return json.Marshal(ev)
}

// couponID is the messageId of a request's event: asking again is the same event,
// however the code was typed.
func couponID(name string, is couponRequest) string {
	var b []byte
	for _, s := range []string{name, is.user, coupon.Typed(is.code), is.order} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	sum := sha256.Sum256(b)
	return "coupon-" + hex.EncodeToString(sum[:16])
}

// changeCoupon stores the event of a POST, and answers with what it has come to.
func (g *Gateway) changeCoupon(w http.ResponseWriter, r *http.Request, path string, rt route, id string) {
	start := time.Now()
	ctx, cancel := context.WithDeadline(r.Context(), start.Add(couponWait))
	defer cancel()
	is := &couponRequest{}
	r = r.WithContext(context.WithValue(ctx, couponKey{}, is))
	t, err := g.take(w, r, rt, id)
	switch {
	case errors.Is(err, errGone) && errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = errCoupon
	case err == nil && t.accepted == 0:
		err = errCoupon
	}
	var s pipeline.CouponState
	if err == nil {
		s, err = g.askCoupon(ctx, is)
	}
	if err == nil {
		err = couponProblem(couponEvents[path], s)
	}
	g.answerCoupon(w, r, path, s, err, id, t.heard)
	g.met.coupons.Observe(time.Since(start).Seconds())
}

// lookCoupon answers a GET.
func (g *Gateway) lookCoupon(w http.ResponseWriter, r *http.Request, path, id string) {
	ctx, cancel := context.WithTimeout(r.Context(), couponWait)
	defer cancel()
	is := &couponRequest{user: r.URL.Query().Get("userId"), code: strings.TrimPrefix(path, couponPath)}
	key, err := g.checkoutKey(r)
	if err == nil {
		err = g.admitSender(key, g.proxies.clientOf(r), g.opt.Now())
	}
	if err == nil && (is.user == "" || len(is.user) > event.MaxUserBytes || is.code == "" || len(is.code) > event.MaxUserBytes/2) {
		err = bad("coupon_fields", errors.New("the path has no code, or the query no userId, or one is too long"))
	}
	var s pipeline.CouponState
	if err == nil {
		s, err = g.askCoupon(ctx, is)
	}
	if err == nil && s.State == pipeline.CouponUnknown {
		err = couponProblem("", s)
	}
	g.answerCoupon(w, r, path, s, err, id, hearing{})
}

// checkoutKey is the key of a request that stores nothing, which must be one of role
// server.
func (g *Gateway) checkoutKey(r *http.Request) (*config.Key, error) {
	name, _, _ := r.BasicAuth()
	key := g.keys.Load().find(name)
	switch {
	case key == nil:
		return nil, errKey
	case !key.Roles.Has(event.Server):
		return nil, &event.Denied{Reason: event.DeniedRole, Detail: fmt.Sprintf("a coupon is shown to a key of role %s; this key has the role %s", event.Server, key.Roles)}
	case g.draining.Load():
		return nil, errDrain
	case g.able() != nil:
		return nil, errLog
	}
	return key, nil
}

// askCoupon asks what is known of a coupon.
func (g *Gateway) askCoupon(ctx context.Context, is *couponRequest) (pipeline.CouponState, error) {
	user := event.UserKey(is.user, false)
	s, err := g.opt.Log.Coupon(ctx, event.Partition(user, len(g.lanes)), user, is.code, is.order)
	if err != nil {
		g.opt.Logger.Warn("nobody says what has become of a coupon", "error", err)
		return s, errCoupon
	}
	return s, nil
}

var errCoupon = &problem{http.StatusServiceUnavailable, "coupon", "nobody has said in time what has become of the coupon", 0}

// couponProblem is why a state is not what was asked for; nil if it is. name is that of
// the event, "" if only whether there is such a coupon was asked.
func couponProblem(name string, s pipeline.CouponState) error {
	switch s.State {
	case pipeline.CouponUnknown:
		return &problem{http.StatusNotFound, "coupon_unknown", "the user has no such coupon: the code is mistyped, or was given to somebody else", 0}
	case pipeline.CouponExpired:
		if name == pipeline.CouponRedeemed {
			return &problem{http.StatusConflict, "coupon_expired", "the coupon expired at " + s.Expires, 0}
		}
	}
	if name == pipeline.CouponVoided {
		switch s.State {
		case pipeline.CouponVoid:
			return nil
		case pipeline.CouponUsed:
			return errCoupon
		}
		return &problem{http.StatusConflict, "coupon_unredeemed", "this order has not used the coupon", 0}
	}
	switch s.State {
	case pipeline.CouponUsed:
		return nil
	case pipeline.CouponTaken:
		return &problem{http.StatusConflict, "coupon_used", clip(fmt.Sprintf("the coupon was used at %s, by order %s", s.Redeemed, s.OrderID)), 0}
	case pipeline.CouponVoid:
		return &problem{http.StatusConflict, "coupon_voided", "this order has used the coupon, and was cancelled", 0}
	}
	return errCoupon // the set in force knows no coupons, or the event became a dead letter
}

// answerCoupon answers with a state, or an error.
func (g *Gateway) answerCoupon(w http.ResponseWriter, r *http.Request, path string, s pipeline.CouponState, err error, id string, heard hearing) {
	if err != nil {
		p := g.problemOf(err, id)
		g.met.answers.WithLabelValues(p.reason).Inc()
		if p.status == http.StatusTooManyRequests {
			g.met.limits.WithLabelValues(p.reason).Inc()
		}
		answer(w, p, id)
		g.tell(path, heard, p)
		return
	}
	g.met.requests.Inc()
	valid := s.State == pipeline.CouponUsed
	if r.Method == http.MethodGet {
		valid = s.State == pipeline.CouponOpen
	}
	body, _ := json.Marshal(struct {
		Success bool `json:"success"`
		Valid   bool `json:"valid"`
		pipeline.CouponState
	}{true, valid, s})
	w.Header()["Content-Type"] = typeJSON
	w.Write(body)
	g.tell(path, heard, nil)
}
