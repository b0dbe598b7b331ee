package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// Values of Options.Durability: what Connect does if NATS may lose messages that
// it has acknowledged, or if that cannot be found out.
const (
	DurabilityWarn   = "warn"   // it logs a warning
	DurabilityStrict = "strict" // it refuses
)

// serversSubject is where all servers answer with their configuration. It
// belongs to the system account; deploy/nats.conf exports it to the deployment's
// account.
const serversSubject = "$SYS.REQ.SERVER.PING.JSZ"

// answerWithin bounds the wait for the servers' answers.
const answerWithin = 2 * time.Second

// oldestServer is the first version of nats-server for which no way is known to
// lose acknowledged messages.
var oldestServer = version{2, 15, 2}

type version [3]int

func readVersion(text string) (v version) {
	fmt.Sscanf(text, "%d.%d.%d", &v[0], &v[1], &v[2]) // what cannot be parsed is 0, which is too old
	return v
}

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// tooOld returns what is wrong with a server of this version; "" if nothing is.
func tooOld(text string) string {
	if v := readVersion(text); slices.Compare(v[:], oldestServer[:]) >= 0 {
		return ""
	}
	return fmt.Sprintf("it is nats-server %s, and versions before %s may lose acknowledged messages: upgrade it", text, oldestServer)
}

// aServer is a server's answer about itself.
type aServer struct {
	Server struct {
		Name string `json:"name"`
		Ver  string `json:"ver"`
	} `json:"server"`
	Data struct {
		Disabled bool `json:"disabled"` // no JetStream
		Config   struct {
			SyncAlways   bool          `json:"sync_always"`
			SyncInterval time.Duration `json:"sync_interval"`
		} `json:"config"`
		Meta struct {
			Size int `json:"cluster_size"`
		} `json:"meta_cluster"`
	} `json:"data"`
}

// durability checks whether the servers keep acknowledged messages whatever
// happens, and warns or refuses if they do not or cannot be asked. A server that
// does not answer while others do counts as down, which a cluster tolerates.
func (c *Conn) durability(ctx context.Context) error {
	weak, err := c.weaknesses(ctx)
	if err != nil {
		return err
	}
	for _, w := range weak {
		if c.opt.Durability == DurabilityStrict {
			w.Do += "; or start with --durability warn"
			return w
		}
		c.Log.Warn("NATS may lose what it acknowledged", "what", w.What, "why", w.Why, "do", w.Do)
	}
	return nil
}

func (c *Conn) weaknesses(ctx context.Context) (weak []*Refusal, err error) {
	for _, bucket := range []string{"KV_" + c.Names.CampaignsBucket(), c.Names.groupStream(), c.Names.snapshotsStream()} {
		st, err := c.JS.Stream(ctx, bucket)
		if err != nil {
			return nil, c.failed("stream "+bucket, err)
		}
		if have := st.CachedInfo().Config.Replicas; have < c.opt.Replicas {
			weak = append(weak, &Refusal{"stream " + bucket, fmt.Sprintf("num_replicas is %d, this process asks for %d", have, c.opt.Replicas),
				fmt.Sprintf("`nats stream edit %s --replicas %d`", bucket, c.opt.Replicas)})
		}
	}
	servers, why := c.servers(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if why != nil {
		here := "NATS at " + c.opt.where()
		if old := tooOld(c.NC.ConnectedServerVersion()); old != "" {
			weak = append(weak, &Refusal{here, old, "all servers of the cluster"})
		}
		return append(weak, &Refusal{here, "whether it syncs its disk before it acknowledges cannot be seen: " + why.Error(),
			"let this user ask " + serversSubject + ", as deploy/nats.conf does"}), nil
	}
	for _, s := range servers {
		what := "server " + s.Server.Name
		if old := tooOld(s.Server.Ver); old != "" {
			weak = append(weak, &Refusal{what, old, "all servers of the cluster"})
		}
		if !s.Data.Config.SyncAlways {
			weak = append(weak, &Refusal{what, fmt.Sprintf("it syncs its disk every %s, and a power cut loses the messages acknowledged since the last sync", s.Data.Config.SyncInterval),
				"set sync_interval: always in its jetstream block"})
		}
	}
	return weak, nil
}

// servers asks all servers with JetStream for their version and configuration.
func (c *Conn) servers(ctx context.Context) (all []aServer, err error) {
	ctx, end := c.denied.watch(ctx)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	inbox := c.NC.NewRespInbox()
	sub, err := c.NC.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	if err := c.NC.PublishRequest(serversSubject, inbox, []byte(`{"config":true}`)); err != nil {
		return nil, err
	}
	for want := 1; len(all) < want; {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil && len(all) > 0 {
			c.Log.Info("not all servers of the cluster have told their configuration", "servers", want, "answers", len(all))
			return all, nil
		}
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return nil, errors.New("nobody answers")
		case errors.Is(err, context.Canceled):
			return nil, errors.New("it may not be asked")
		case err != nil:
			return nil, fmt.Errorf("no answer within %s", answerWithin)
		}
		var s aServer
		if err := json.Unmarshal(m.Data, &s); err != nil {
			return nil, fmt.Errorf("an answer that cannot be read: %w", err)
		}
		if !s.Data.Disabled {
			all = append(all, s)
			want = max(want, s.Data.Meta.Size)
		}
	}
	return all, nil
}
