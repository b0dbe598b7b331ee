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

// stdio holds a command's standard input, output and error.
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
	{"serve", "run everything in one process, for a small shop", serve},
	{"new", "write a campaign set of the gallery, with its scenarios, into a folder", newSet},
	{"check", "validate campaign files", check},
	{"test", "run the scenarios of campaigns", test},
	{"schema", "print the JSON Schema of campaign files, for editors", schema},
	{"apply", "make a campaign set live", apply},
	{"backtest", "show what campaigns would have done with a file of events", backtestCommand},
	{"shadow", "show what a campaign set would do beside the live one, on the live log", shadow},
	{"import", "convert a shop's export to events, or send a list of users", importEvents},
	{"replay", "send a file of events through a gateway", replay},
	{"explain", "tell why a user got an offer, or got none", explainUser},
	{"user", "show what is stored about a user", user},
	{"item", "show what is stored about an item", item},
	{"send-test", "render a campaign's offer for a user now, and publish it as a test", sendTest},
	{"deliver", "send the offers of a channel to a webhook, or by SMS, push or mail", deliverOffers},
	{"status", "show which worker owns which partition, and how far it is behind", status},
	{"verify", "compare the stored offers with those that the log yields", verify},
	{"accept", "accept the loss of data that cannot be restored, after a partition has stopped", accept},
	{"listen", "show events as they arrive, and what becomes of them", listen},
	{"deadletters", "show events that could not be applied, and send them again", deadletters},
	{"campaigns", "list, pause and roll back what is live, and give its files back", campaignsCommand},
	{"coupons", "make a key for codes of coupons, check a code, and fill pools of codes", coupons},
	{"bench", "measure how fast this machine is", benchmark},
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

// errSilent fails a command that has already printed the reason.
var errSilent = errors.New("")

// run is the whole program, without the process around it. It returns the exit
// status: 0, 1 if the command failed, 2 if the command line is wrong.
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
			fmt.Fprintf(onDisplay(std.err), "offerctl %s: %v\n\nSee offerctl %s --help\n", c.name, err, c.name)
			return 2
		case errors.Is(err, errSilent):
			return 1
		case ctx.Err() != nil && errors.Is(err, context.Canceled):
			fmt.Fprintf(std.err, "offerctl %s: interrupted\n", c.name)
			return 1
		}
		fmt.Fprintf(onDisplay(std.err), "offerctl %s: %v\n", c.name, err)
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
	fmt.Fprint(w, "\nEach command has --help. Start with: offerctl demo\n")
}

// usageError is an error in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// flags is a command's flag set. Its help shows the synopsis, the purpose of
// the command, the flags and an example.
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

// parse reads the arguments: flags and others, in any order. It returns the
// others.
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

// none reads the flags of a command that takes no other arguments.
func (f *flags) none(args []string) error {
	rest, err := f.parse(args)
	if err == nil && len(rest) > 0 {
		err = usagef("unexpected argument %q", rest[0])
	}
	return err
}
