// Package page shows the web offers of one user or visitor to his page.
//
//	OFFERS -> feeds (broker.Feed) -> board (board.go): what is open, by user and visitor
//	       -> streams (stream.go): what appears and what is taken back -> pages
//
//	a visitor's id and token: visitor.go; the page's script: script.go, offerstream.js
//
// Who may see what is not decided here: package ingest, which knows the keys and user
// tokens, says whose offers a request may have.
//
// # The board
//
// Each gateway has one board, in memory, and two consumers on OFFERS, whatever the number of
// pages: one for offers.web.*, one for page.*. At the start, and after NATS has lost
// messages, the board is made again of what was stored in the last Life, in the order of
// OFFERS; until then requests for offers are answered with 503. So a gateway that is
// restarted loses nothing, and two gateways show the same.
//
// An offer is open until it expires (Life after it was stored at the latest), its campaign
// has sent the same person a later one, or its coupon is redeemed; and it is not seen while
// its campaign, or advertising on the channel web, is paused. What is paused is read from
// the bucket, into which workers also write what a brake has paused.
//
// # Streams
//
// The id of an event is the list of the offers that the page has after it. A page that comes
// again brings the last id, and is told the difference between that and what is open: from
// whichever gateway, and also if none remembers the page. Before the list, the id has how
// far the gateway had read OFFERS (W and P: the last messages of the two feeds): one that is
// behind reads on first.
//
//	id: W-P-OFFER.OFFER
package page
