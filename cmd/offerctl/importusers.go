package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"offerstream/config"
)

// importUsers is `offerctl import users`.
func importUsers(ctx context.Context, args []string, std stdio) error {
	fs := newFlags(std, "import users FILE.csv|.jsonl[.gz] --to URL --server-key KEY [--rate N|max] [--dry-run]", `
Sends a list of users from outside, such as a segment or the tiers of a loyalty
programme, through a gateway: an identify event for each row, with the row's other
columns as traits.

The first line of a CSV file has the names of the columns. userId says who the user
is, or the column that --id names; where it is empty or missing, anonymousId. A
column whose cells are numbers holds numbers, one whose cells are true or false
holds bools, as in tables of facts; any other is text. An empty cell is no trait:
the user keeps the one that he has. A line of a JSONL file is an object with userId
and an object traits, or with userId and the traits themselves.

The whole list is read before its first event is sent. Rows that cannot be used are
named, and the others sent; the exit status is 1 then. Mend these in a file of their
own. A row is at most 32 KB as an event; a user has at most 64 KB of traits, and the
worker counts those that do not fit. Who is no longer in the list keeps his traits:
list him with another value.

How far it has come is kept in FILE.progress until all is sent. After Ctrl-C, or any
other end, the same command goes on from there. The messageId of an event is made of
the file's whole content and the row's line. So the same file again yields duplicates,
which have no effect while they are among the newest 64 events of their user or
younger than 15 minutes; any other file yields new events for all its rows. To make
a list count once more, after another was sent, add an empty line at its end.`,
		"offerctl import users tiers.csv --dry-run\nofferctl import users tiers.csv --id member_no --to http://127.0.0.1:8080 --server-key KEY --rejects rejects.txt")
	id := fs.String("id", userColumn, "the `COLUMN` that has the userIds, or the member of that name")
	to := fs.String("to", "http://127.0.0.1:8080", "the gateway's `URL`")
	keys := fs.keys("")
	rate := fs.String("rate", "2000", "`N` events per second, or max")
	dry := fs.Bool("dry-run", false, "read the whole list, show its first events, and send nothing")
	rejects := fs.String("rejects", "", "write a line for each row that cannot be used into this `FILE`: where it is, and why")
	rest, err := fs.parse(args)
	if err != nil {
		return err
	}
	key, err := keys.one()
	switch {
	case err != nil:
		return err
	case len(rest) != 1:
		return usagef("%s given: name exactly one", count(len(rest), "list"))
	case *id == "" || *id == anonymousColumn:
		return usagef("--id %q is not a column of userIds", *id)
	case key == "" && !*dry:
		return usagef("--server-key or --write-key is required")
	}
	perSecond, err := readRate(*rate)
	if err != nil {
		return err
	}
	list, err := newUserList(rest[0], *id, std)
	if err != nil {
		return err
	}
	if *rejects != "" {
		if err := apart(std, *rejects, list.name); err != nil {
			return err
		}
	}
	i := &userImport{list: list, dry: *dry, std: std, sender: newSender(*to, key), pace: pace{rate: perSecond}, live: newProgress(std.err)}
	defer i.live.done()
	return i.run(ctx, *rejects)
}

// A userImport is one run of the command.
type userImport struct {
	list   *userList
	dry    bool
	std    stdio
	sender *sender
	pace   pace
	live   *progress
	began  time.Time

	state importState
	from  int // the line up to which an earlier run has sent the list
	batch [][]byte
	bytes int
	last  int // line of the last row in batch
	sent  int
	users int // rows that can be used

	refused int
	rejects io.Writer // a line for each row that cannot be used; nil: none
	wrong   error     // of rejects
}

// How many events --dry-run shows, and how many rows that cannot be used are named.
const (
	eventsShown  = 5
	rejectsShown = 20
)

func (i *userImport) run(ctx context.Context, rejects string) error {
	if err := i.list.survey(ctx); err != nil {
		return err
	}
	i.introduce()
	var to *newFile
	if rejects != "" {
		var err error
		if to, err = beginFile(rejects); err != nil {
			return err
		}
		defer to.drop()
		i.rejects = to
	}
	if err := i.begin(); err != nil {
		return err
	}
	err := i.list.each(ctx, i.refuse, func(u listedUser) error { return i.take(ctx, u) })
	if err == nil {
		err = i.flush(ctx)
	}
	i.live.done()
	if err == nil && to != nil {
		err = errors.Join(i.wrong, to.done())
	}
	if err != nil {
		if !i.dry && !errors.Is(err, errListChanged) {
			fmt.Fprintf(i.std.err, "%s: sent up to line %d of %d; the same command goes on from there\n", i.list.name, i.state.Line, i.list.lines)
		}
		return err
	}
	return i.finish()
}

// introduce tells what is in the list.
func (i *userImport) introduce() {
	out := onDisplay(i.std.out)
	fmt.Fprintf(out, "%s: %s", i.list.name, count(i.list.lines, "line"))
	some := false
	for c, name := range i.list.header {
		if name == i.list.id || name == anonymousColumn {
			continue
		}
		fmt.Fprintf(out, "%s%s (%s)", map[bool]string{false: "; traits: ", true: ", "}[some], name, i.list.kind(c))
		some = true
	}
	fmt.Fprintln(out)
}

// begin finds out where to go on.
func (i *userImport) begin() error {
	i.began = time.Now()
	if i.dry {
		return nil
	}
	i.state = importState{Content: i.list.content, To: i.sender.gateway, ID: i.list.id}
	other, err := i.state.resume(i.list.name)
	if err != nil {
		return err
	}
	switch i.from = i.state.Line; {
	case other != "":
		fmt.Fprintf(i.std.out, "%s: this one begins at the first line\n", other)
	case i.from > 0:
		fmt.Fprintf(i.std.out, "an earlier run sent it up to line %d: going on from there\n", i.from)
	}
	i.sender.notify = func(err error) { i.live.show("%s; waiting: %v", i.progress(), err) }
	return i.state.keep(i.list.name) // or nothing is sent
}

// refuse notes a row that cannot be used.
func (i *userImport) refuse(p config.Problem) {
	i.refused++
	if i.rejects != nil && i.wrong == nil {
		_, i.wrong = fmt.Fprintln(onDisplay(i.rejects), p)
	}
	if i.refused <= rejectsShown {
		i.live.done()
		fmt.Fprintln(onDisplay(i.std.err), p)
	}
}

// take adds a row's event to the batch, and sends the batch when it is full.
func (i *userImport) take(ctx context.Context, u listedUser) error {
	i.users++
	switch {
	case i.dry && i.users <= eventsShown:
		fmt.Fprintf(onDisplay(i.std.out), "line %d: %s\n", u.line, u.event)
		return nil
	case i.dry || u.line <= i.from:
		return nil
	}
	if len(i.batch) >= batchSize(i.pace.rate) || i.bytes+len(u.event) > batchBytes {
		if err := i.flush(ctx); err != nil {
			return err
		}
	}
	i.batch, i.last = append(i.batch, u.event), u.line
	i.bytes += len(u.event) + 1
	return nil
}

// flush sends the batch, and keeps that it is sent.
func (i *userImport) flush(ctx context.Context) error {
	if len(i.batch) == 0 {
		return nil
	}
	if wait := i.pace.wait(time.Now(), len(i.batch)); wait > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	if err := i.sender.batch(ctx, i.batch); err != nil {
		return err
	}
	switch denied, refused := i.sender.denied, i.sender.refused; {
	case denied > 0:
		return fmt.Errorf("the gateway refused %d events that this key may not send: identify events need --server-key with a key of role server, or --write-key with one of role browser that does not ask for proof; its log has the reasons", denied)
	case refused > 0:
		return fmt.Errorf("the gateway refused %d events and has made them dead letters: offerctl deadletters list --gateway shows the reasons", refused)
	}
	i.sent += len(i.batch)
	i.batch, i.bytes, i.state.Line = i.batch[:0], 0, i.last
	i.live.show("%s", i.progress())
	return i.state.keep(i.list.name)
}

// progress tells how much of what this run has to send is sent.
func (i *userImport) progress() string {
	return strings.Replace(progressOf(i.sent, int64(i.state.Line-i.from), int64(i.list.lines-i.from), time.Since(i.began)), " lines", " users", 1)
}

// finish tells what was done.
func (i *userImport) finish() error {
	if !i.dry {
		if err := os.Remove(stateFile(i.list.name)); err != nil {
			return err
		}
	}
	switch took := time.Since(i.began).Seconds(); {
	case i.users+i.refused == 0:
		return fmt.Errorf("%s: the list has no rows", i.list.name)
	case i.dry:
		fmt.Fprintf(i.std.out, "%s would be sent", count(i.users, "event"))
	default:
		fmt.Fprintf(i.std.out, "%s sent in %.1f s (%.0f/s), %d retries", count(i.sent, "event"), took, float64(i.sent)/took, i.sender.retries)
	}
	if i.refused == 0 {
		fmt.Fprintln(i.std.out)
		return nil
	}
	fmt.Fprintf(i.std.out, "; %s cannot be used", count(i.refused, "row"))
	if i.refused > rejectsShown && i.rejects == nil {
		fmt.Fprintf(i.std.out, ", of which the first %d are named; --rejects FILE names all", rejectsShown)
	}
	fmt.Fprintln(i.std.out)
	return errSilent
}
