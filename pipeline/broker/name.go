package broker

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"offerstream/pipeline"
)

// WebChannel is the channel of offers that are shown on pages.
const WebChannel = "web"

// Names are the names of one deployment's subjects, streams and buckets. Several
// deployments can share one NATS under different prefixes.
type Names struct{ Prefix string }

var prefixes = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// check refuses a prefix that is not a subject token, that has capitals (streams
// have the prefix in capitals, so two prefixes could become one), or under which
// subjects would belong to the deployment without a prefix.
func (n Names) check() error {
	switch n.Prefix {
	case "":
		return nil
	case "events", "offers", "offers-test", "withheld", "page", "dead", "query":
		return &Refusal{"prefix " + n.Prefix, "it is the first word of subjects without a prefix", "choose another one"}
	}
	if !prefixes.MatchString(n.Prefix) {
		return &Refusal{fmt.Sprintf("prefix %q", n.Prefix), "it is not a valid prefix for subjects", "use a lower-case letter and up to 31 lower-case letters, digits, _ or -"}
	}
	return nil
}

func (n Names) subject(s string) string {
	if n.Prefix == "" {
		return s
	}
	return n.Prefix + "." + s
}

func (n Names) stream(s string) string {
	if n.Prefix == "" {
		return s
	}
	return strings.ToUpper(n.Prefix) + "-" + s
}

// EventsStream is the stream of partition p's log.
func (n Names) EventsStream(p int) string { return n.stream("EVENTS-" + strconv.Itoa(p)) }

// EventsSubject is the subject in partition p's log of messages of a kind: in,
// tick, control, accept, or from.<q> for mails of partition q.
func (n Names) EventsSubject(p int, kind string) string {
	return n.subject("events." + strconv.Itoa(p) + "." + kind)
}

// EventsSubjects are all subjects of partition p's log.
func (n Names) EventsSubjects(p int) []string {
	return []string{n.EventsSubject(p, "in"), n.EventsSubject(p, "tick"), n.EventsSubject(p, "control"), n.EventsSubject(p, "accept"), n.EventsSubject(p, "from.*")}
}

// OffersStream holds the offers, the withheld records and the page records of all
// partitions.
func (n Names) OffersStream() string { return n.stream("OFFERS") }

// OffersSubjects are all subjects of OffersStream.
func (n Names) OffersSubjects() []string {
	return []string{n.OfferSubjects(), n.subject("withheld.*"), n.PageSubjects()}
}

// OfferSubjects is a filter for all offers, without withheld and page records.
func (n Names) OfferSubjects() string { return n.subject("offers.*.*") }

// OfferSubject is the subject of partition p's offers on a channel, a chain.
func (n Names) OfferSubject(channel string, p int) string {
	return n.ChainSubject("offers."+channel, p)
}

// PageSubjects is a filter for all page records.
func (n Names) PageSubjects() string { return n.subject("page.*") }

// PageSubject is the subject of partition p's page records, a chain.
func (n Names) PageSubject(p int) string { return n.ChainSubject("page", p) }

// OffersOf is a filter for all of partition p's offers, without withheld and page
// records.
func (n Names) OffersOf(p int) string { return n.OfferSubject("*", p) }

// WithheldSubject is the subject of partition p's withheld records, a chain.
func (n Names) WithheldSubject(p int) string { return n.ChainSubject("withheld", p) }

// OfferChainsOf are filters for all of partition p's chains in OffersStream: of offers,
// of withheld records and of page records.
func (n Names) OfferChainsOf(p int) []string {
	return []string{n.OffersOf(p), n.WithheldSubject(p), n.PageSubject(p)}
}

// WebSubjects is a filter for all offers on pages.
func (n Names) WebSubjects() string { return n.subject("offers." + WebChannel + ".*") }

// TestSubject is the subject of test offers on a channel. No stream has it: they
// reach only those who listen.
func (n Names) TestSubject(channel string) string { return n.subject("offers-test." + channel) }

// DeadStream holds the dead letters of all partitions and of the gateway.
func (n Names) DeadStream() string { return n.stream("DEADLETTERS") }

// DeadSubject is the subject of partition p's dead letters, a chain.
func (n Names) DeadSubject(p int) string { return n.ChainSubject("dead", p) }

// DeadGateway is the subject of the gateway's dead letters. It is not a chain.
func (n Names) DeadGateway() string { return n.subject("dead.gateway") }

// DeadDeliver is the subject of offers that could not be delivered. It is not a chain.
func (n Names) DeadDeliver() string { return n.subject("dead." + FromDeliver) }

// ChannelSubjects is a filter for the offers of one channel.
func (n Names) ChannelSubjects(channel string) string { return n.subject("offers." + channel + ".*") }

// ChainSubject is the subject of a chain of partition p. The chain is named as
// in pipeline.Effect: "offers.<channel>", "withheld", "page", "dead", or
// "events.<q>.from"
// for mails to partition q.
func (n Names) ChainSubject(chain string, p int) string {
	return n.subject(chain + "." + strconv.Itoa(p))
}

// ChainStream is the stream that stores a chain.
func (n Names) ChainStream(chain string) string {
	if to, ok := pipeline.MailsTo(chain); ok {
		return n.EventsStream(to)
	}
	if chain == "dead" {
		return n.DeadStream()
	}
	return n.OffersStream()
}

// CampaignsBucket is the KV bucket of campaign sets.
func (n Names) CampaignsBucket() string { return n.stream("CAMPAIGNS") }

// campaignsSubject is the subject of a key's value in that bucket.
func (n Names) campaignsSubject(key string) string { return "$KV." + n.CampaignsBucket() + "." + key }

// GroupBucket is the KV bucket of the workers' leases.
func (n Names) GroupBucket() string { return n.stream("GROUP") }

func (n Names) groupStream() string { return "KV_" + n.GroupBucket() }

func (n Names) leaseSubject(id string) string { return "$KV." + n.GroupBucket() + ".member." + id }

// SnapshotsBucket is the object store of the partitions' snapshots.
func (n Names) SnapshotsBucket() string { return n.stream("SNAPSHOTS") }

func (n Names) snapshotsStream() string { return "OBJ_" + n.SnapshotsBucket() }

// snapshotSubject is the subject of a snapshot's metadata. name is the object's
// name in base64, or * for all.
func (n Names) snapshotSubject(name string) string {
	return "$O." + n.SnapshotsBucket() + ".M." + name
}

// pieceSubject is the subject of a snapshot's bytes. id is
// <partition>.<sequence>.<random>: each attempt to store a snapshot has its own.
func (n Names) pieceSubject(id string) string { return "$O." + n.SnapshotsBucket() + ".C." + id }

// QuerySubject is the subject on which partition p's owner answers requests.
func (n Names) QuerySubject(p int) string { return n.subject("query." + strconv.Itoa(p)) }

// CouponsSubject is the subject on which partition p's owner answers gateways about
// coupons. It is another than QuerySubject, so that gateways need not be allowed to ask
// about users.
func (n Names) CouponsSubject(p int) string { return n.subject("query.coupons." + strconv.Itoa(p)) }

// StatusSubject is the subject on which each worker answers with its Report.
func (n Names) StatusSubject() string { return n.subject("query.status") }

// GatewaysSubject is the subject on which each gateway answers with its
// GatewayReport.
func (n Names) GatewaysSubject() string { return n.subject("query.gateways") }

// ListenSubject is the subject on which gateways take wishes to see what arrives.
func (n Names) ListenSubject() string { return n.subject("query.listen") }

// NoticesSubject is the subject on which gateways tell what a wish is for.
func (n Names) NoticesSubject(wish string) string { return n.subject("query.listen." + wish) }
