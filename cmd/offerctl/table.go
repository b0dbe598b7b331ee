package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"offerstream/pipeline/broker"
	"offerstream/pipeline/campaign"
	"offerstream/pipeline/event"
	"offerstream/pipeline/value"
)

// Limits of a message with rows of facts' tables: those of a gateway's packs.
const (
	tableBytes  = 256 << 10
	tableEvents = 1000
)

// How long the publish of one message may take, and how long it is repeated.
const (
	tableAttempt = 5 * time.Second
	tableRepeats = 30 * time.Second
)

// tableRows is the number of rows of all facts' tables of a set.
func tableRows(def *campaign.Definition) (n int) {
	for _, f := range def.Facts {
		n += len(f.Rows)
	}
	return n
}

// noTableTimes refuses, under clock: event, tables whose rows grow old: there, log
// time comes from the events, and a row has no time that compares with theirs.
func noTableTimes(def *campaign.Definition) error {
	for _, f := range def.Facts {
		if def.Clock == campaign.ClockEvent && len(f.Rows) > 0 && f.MaxAge > 0 {
			return usagef("fact %s has `file` and `max_age`: under clock: event the rows have no time from which to count: leave max_age out, or put the facts into the file of events", f.Name)
		}
	}
	return nil
}

// applyTables waits until the set is in force in all partitions, and loads its
// tables.
func applyTables(ctx context.Context, std stdio, conn *broker.Conn, def *campaign.Definition, wait time.Duration) error {
	n := tableRows(def)
	err := awaitSet(ctx, std.out, conn, def.Hash(), wait)
	if n == 0 {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w; the tables of its facts are not loaded: then apply it again", err)
	}
	watch, end := context.WithCancel(ctx)
	defer end()
	log, err := conn.OpenGatewayLog(watch)
	if err != nil {
		return err
	}
	live := newProgress(std.err)
	defer live.done()
	if err := loadTables(ctx, log, def, time.Now(), live); err != nil {
		return err
	}
	live.done()
	fmt.Fprintf(std.out, "%s loaded into all %d partitions\n", count(n, "row"), conn.Partitions)
	return nil
}

// loadTables appends the rows of the set's tables to the log of every partition, as
// facts that are given now. It may be repeated. Facts that come before the control
// message of their set change nothing, so the set must be in force.
func loadTables(ctx context.Context, log *broker.GatewayLog, def *campaign.Definition, now time.Time, live *progress) error {
	packs := tablePacks(def, value.FormatTime(now.UnixNano()))
	for p := range log.Partitions() {
		for i, pack := range packs {
			if err := publishTable(ctx, log, p, pack); err != nil {
				return fmt.Errorf("the tables of facts are loaded into %d of %d partitions only: %w: apply the set again, which does no harm", p, log.Partitions(), err)
			}
			live.show("loading tables: %3d%%", 100*(p*len(packs)+i+1)/(len(packs)*log.Partitions()))
		}
	}
	return nil
}

// firstTime is the log time of rows under clock: event: before all events, so that
// they are given at the log time so far, and move it only if there is none yet. It
// is not 0, which would stand for none.
const firstTime = `"logTime":"1970-01-01T00:00:00.000000001Z"`

// tablePacks returns the rows as a gateway would put them into a log.
func tablePacks(def *campaign.Definition, now string) (packs [][]byte) {
	given := fmt.Sprintf(`"timestamp":%q,"receivedAt":%[1]q`, now)
	if def.Clock == campaign.ClockEvent {
		given = fmt.Sprintf(`%s,"receivedAt":%q`, firstTime, now)
	}
	var pack []byte
	events := 0
	for _, f := range def.Facts {
		for _, r := range f.Rows {
			fact := event.AppendFact(nil, f.Name, r.ID, r.Values, given)
			line := append(fmt.Appendf(nil, `{"messageId":%q,`, event.ContentID(fact)), fact[1:]...)
			if events == tableEvents || events > 0 && len(pack)+1+len(line) > tableBytes {
				packs, pack, events = append(packs, pack), nil, 0
			}
			if events > 0 {
				pack = append(pack, '\n')
			}
			pack, events = append(pack, line...), events+1
		}
	}
	if events > 0 {
		packs = append(packs, pack)
	}
	return packs
}

// publishTable publishes one message, and repeats it if there is no acknowledgement.
// Its id depends on its content, so a repetition is stored once.
func publishTable(ctx context.Context, log *broker.GatewayLog, partition int, pack []byte) error {
	id := "table-" + event.ContentID(pack)
	for start := time.Now(); ; {
		attempt, end := context.WithTimeout(ctx, tableAttempt)
		err := log.Publish(attempt, partition, id, pack)
		end()
		if err == nil || ctx.Err() != nil || errors.Is(err, broker.ErrLoud) || time.Since(start) > tableRepeats {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}
