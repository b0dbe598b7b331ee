// Command offerctl is what people type: it starts Offerstream, checks and
// applies campaigns, and looks into what they did. Each command has a file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"offerstream/cmd/offerctl/bench"
)

// stdio is what a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, std stdio) error
}

var commands = []command{
	{"demo", "start everything in one process with simulated shoppers", demo},
	{"serve", "run everything in one process: what a small shop runs", serve},
	{"check", "validate campaign files", check},
	{"test", "do these campaigns send what their scenarios say?", test},
	{"apply", "make a campaign set live", apply},
	{"backtest", "what would these campaigns have done with these events?", backtest},
	{"import", "turn a shop's own export into events", importEvents},
	{"replay", "send a file of events through a gateway", replay},
	{"user", "what is stored about a user now", user},
	{"status", "who works, on what, and how far behind?", status},
	{"verify", "are the offers that are stored those of the log?", verify},
	{"accept", "go on after a partition has stopped and what was lost cannot be had back", accept},
	{"deadletters", "show what could not be applied, and send it again", deadletters},
	{"bench", "how fast this machine is", benchmark},
}

func main() {
	if is, err := bench.RunPart(benchBacktest); is {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// errSilent fails a command that has said why.
var errSilent = errors.New("")

// run is the whole program but for the process around it. It returns the exit
// status: 0, 1 when the command failed, 2 when it was not understood.
func run(ctx context.Context, args []string, std stdio) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		usage(std.out)
		if len(args) == 0 {
			return 2
		}
		return 0
	}
	for _, c := range commands {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, args[1:], std)
		var wrong usageError
		switch {
		case err == nil || errors.Is(err, flag.ErrHelp):
			return 0
		case errors.As(err, &wrong):
			fmt.Fprintf(std.err, "offerctl %s: %v\n\nSee offerctl %s --help\n", c.name, err, c.name)
			return 2
		case errors.Is(err, errSilent):
			return 1
		}
		fmt.Fprintf(std.err, "offerctl %s: %v\n", c.name, err)
		return 1
	}
	fmt.Fprintf(std.err, "offerctl: there is no command %q\n\n", args[0])
	usage(std.err)
	return 2
}

func usage(w io.Writer) {
	fmt.Fprint(w, "offerctl turns a shop's events into offers.\n\nCommands:\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-11s  %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nEach has --help. Begin with: offerctl demo\n")
}

// usageError is a command line that was not understood.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// flags is a command's flag set. Its help shows the synopsis, what the
// command is for, the flags and an example.
type flags struct {
	*flag.FlagSet
	out io.Writer
}

func newFlags(std stdio, synopsis, about, example string) *flags {
	name, _, _ := strings.Cut(synopsis, " ")
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	f := &flags{fs, std.out}
	fs.Usage = func() {
		fmt.Fprintf(f.out, "Usage: offerctl %s\n\n%s\n", synopsis, strings.TrimSpace(about))
		any := false
		fs.VisitAll(func(fl *flag.Flag) {
			if !any {
				fmt.Fprint(f.out, "\nFlags:\n")
				any = true
			}
			arg, text := flag.UnquoteUsage(fl)
			if arg != "" {
				arg = " " + arg
			}
			if fl.DefValue != "" && fl.DefValue != "false" && fl.DefValue != "0" {
				text += fmt.Sprintf(" (default %s)", fl.DefValue)
			}
			fmt.Fprintf(f.out, "  --%s%s\n        %s\n", fl.Name, arg, text)
		})
		fmt.Fprintf(f.out, "\nExample:\n  %s\n", strings.ReplaceAll(strings.TrimSpace(example), "\n", "\n  "))
	}
	return f
}

// parse reads the arguments: flags and what is left, in any order.
func (f *flags) parse(args []string) (rest []string, err error) {
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{errors.New(strings.ReplaceAll(err.Error(), ": -", ": --"))}
		}
		if f.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, f.Arg(0))
		args = f.Args()[1:]
	}
}

// none refuses arguments where a command takes none.
func (f *flags) none(args []string) error {
	rest, err := f.parse(args)
	if err == nil && len(rest) > 0 {
		err = usagef("%q is one argument too many", rest[0])
	}
	return err
}
