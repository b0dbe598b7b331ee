package storefront

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"offerstream/pipeline/event"
	"offerstream/pipeline/explain"
	"offerstream/pipeline/ingest"
)

// What a shop's server does, besides serving pages.

// tokenLife is how long a user token counts. The script asks for another one then.
const tokenLife = 10 * time.Minute

// token makes a user token for who is logged in. With it the page's script proves who that
// is; the key's secret stays here.
func (s *Storefront) token(w http.ResponseWriter, r *http.Request) {
	user := s.user(r)
	if user == "" {
		http.Error(w, "nobody is logged in", http.StatusUnauthorized)
		return
	}
	fmt.Fprint(w, ingest.UserToken(s.opt.Secret, user, time.Now().Add(tokenLife)))
}

// redeem uses a coupon for the order that is about to be made. Asking again for the same
// order is harmless.
func (s *Storefront) redeem(w http.ResponseWriter, r *http.Request) {
	user := s.user(r)
	if user == "" {
		http.Error(w, "log in to use a coupon", http.StatusUnauthorized)
		return
	}
	why, err := s.opt.Redeem(r.Context(), user, r.FormValue("coupon"), r.FormValue("order_id"))
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
	case why != "":
		http.Error(w, why, http.StatusConflict)
	}
}

// prices are those that a mall has named for products whose price has fallen.
type prices struct {
	sync.Mutex
	now map[string]float64
}

// An itemEvent tells of a product, and of no customer.
type itemEvent struct {
	Type       string         `json:"type"`
	Kind       string         `json:"kind"`
	ID         string         `json:"id"`
	Event      string         `json:"event"`
	Properties map[string]any `json:"properties"`
}

// price lowers a product's price at a mall, as whoever collects prices would tell it.
func (s *Storefront) price(w http.ResponseWriter, r *http.Request) {
	p := s.sold(r.FormValue("product_id"))
	if p == nil {
		http.Error(w, "no such product", http.StatusBadRequest)
		return
	}
	s.prices.Lock()
	defer s.prices.Unlock()
	now, known := s.prices.now[p.ID]
	var events []any
	tell := func(price float64) {
		events = append(events, itemEvent{"item", "product", p.ID, "Price Changed", map[string]any{"mall": "demo-mall", "price": price}})
	}
	if !known {
		now = math.Floor(p.Price * 0.75) // the simulated malls stay above
		tell(p.Price)                    // the first price of all is no lower one
	}
	now = math.Floor(now * 0.95)
	tell(now)
	if err := s.opt.Send(r.Context(), events...); err != nil {
		http.Error(w, "telling the price: "+err.Error(), http.StatusBadGateway)
		return
	}
	s.prices.now[p.ID] = now
	fmt.Fprintf(w, "%s costs %.0f at demo-mall now", p.Name, now)
}

// A reason is what became of a campaign for whoever looks, in a sentence.
type reason struct {
	Campaign string `json:"campaign"`
	Channel  string `json:"channel,omitempty"` // of the offer; "": none went out
	Sentence string `json:"sentence"`
	Idle     bool   `json:"idle,omitempty"` // nothing has triggered it
}

// why tells what became of the events of who is logged in, or of the visitor whom the
// address names: first the offers, of each campaign the newest first, and then the campaigns without any.
// It computes that anew from the log, as offerctl explain does, for one page at a time.
func (s *Storefront) why(w http.ResponseWriter, r *http.Request) {
	key := ""
	if user := s.user(r); user != "" {
		key = event.UserKey(user, false)
	} else if visitor := r.FormValue("visitor"); visitor != "" && event.CheckUser(visitor) == nil {
		key = event.UserKey(visitor, true)
	} else {
		http.Error(w, "whose? There is no visitor in the address, and nobody is logged in", http.StatusBadRequest)
		return
	}
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-r.Context().Done():
		return
	}
	story, err := s.opt.Why(r.Context(), key)
	if err != nil {
		http.Error(w, "asking the log: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(reasons(story))
}

func reasons(story *explain.Story) (all []reason) {
	all = []reason{}
	if story == nil {
		return all
	}
	var without []reason
	for _, c := range story.Campaigns {
		sent := false
		for _, e := range slices.Backward(c.Evaluations) {
			if e.Offer != nil {
				all, sent = append(all, reason{Campaign: e.Campaign, Channel: e.Offer.Channel, Sentence: e.Sentence}), true
			}
		}
		if !sent {
			without = append(without, reason{Campaign: c.Campaign, Sentence: c.Sentence, Idle: len(c.Evaluations) == 0})
		}
	}
	return append(all, without...)
}
