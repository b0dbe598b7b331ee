package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"offerstream/pipeline/lazyregexp"
)

const envPrefix = "OFFERSTREAM_"

// A program is one of the programs that have settings.
type program struct {
	name    string
	about   string
	rows    []setting
	example string
}

var gateway = &program{
	name:  "gateway",
	about: "Takes events over HTTP and stores them in NATS JetStream.",
	rows:  slices.Concat(bothBefore, gatewayOnly, exposure, bothAfter),
	example: `OFFERSTREAM_WRITE_KEY=s3cret gateway --nats nats://127.0.0.1:4222 --addr 0.0.0.0:8080
gateway --config gateway.yaml    # nats: nats://127.0.0.1:4222
                                 # write_key: [s3cret, another]
                                 # keys: /etc/offerstream/keys.yaml`,
}

var worker = &program{
	name:  "worker",
	about: "Folds events into each user's state and publishes offers.",
	rows:  slices.Concat(bothBefore, workerOnly, bothAfter),
	example: `worker --nats nats://127.0.0.1:4222 --dir /var/lib/offerstream --cache 1GB
worker --config worker.yaml      # nats: nats://127.0.0.1:4222
                                 # dir: /var/lib/offerstream`,
}

// A given is the text given for a setting. from adds to an error where the text
// came from.
type given struct {
	row  *setting
	text string
	from func(err error) error
}

// settings reads all settings of a program.
func (p *program) settings(args, environ []string, out io.Writer) (*Settings, error) {
	flags, file, err := p.flags(args)
	if errors.Is(err, flag.ErrHelp) {
		p.help(out)
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	env, envFile, errs := p.environment(environ)
	if file == "" {
		file = envFile
	}
	var inFile []given
	if file != "" {
		var problems error
		inFile, problems = p.file(file)
		errs = append(errs, problems)
	}
	s := &Settings{program: p}
	has := p.defaults(s)
	for _, g := range slices.Concat(inFile, env, flags) { // all are checked, and the last one wins
		if err := g.row.read(s, g.text); err != nil {
			errs = append(errs, g.from(err))
		}
		has[g.row.name] = g.text != ""
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := p.required(has); err != nil {
		return nil, err
	}
	return s, nil
}

// defaults sets the defaults, and returns the settings that have one.
func (p *program) defaults(s *Settings) (has map[string]bool) {
	has = map[string]bool{}
	for i := range p.rows {
		if row := &p.rows[i]; row.def != "" {
			if err := row.read(s, row.def); err != nil {
				panic("config: default of " + row.name + ": " + err.Error())
			}
			has[row.name] = true
		}
	}
	return has
}

// required returns an error for each required setting that is not given.
func (p *program) required(has map[string]bool) error {
	var errs []error
	for i := range p.rows {
		row := &p.rows[i]
		if !row.need || has[row.name] || slices.ContainsFunc(row.or, func(name string) bool { return has[name] }) {
			continue
		}
		err := fmt.Errorf("%s is required: %s", row.name, row.everywhere())
		if len(row.or) > 0 {
			err = fmt.Errorf("%w; or else %s", err, strings.Join(row.or, " or "))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// flags reads the command line. The values of a repeatable flag are joined with
// commas.
func (p *program) flags(args []string) (gs []given, file string, err error) {
	fs := flag.NewFlagSet(p.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.Func("config", "", func(text string) error {
		if file != "" || text == "" {
			return errors.New("expected one file")
		}
		file = text
		return nil
	})
	for i := range p.rows {
		row := &p.rows[i]
		fs.Func(row.name, "", func(text string) error {
			at := slices.IndexFunc(gs, func(g given) bool { return g.row == row })
			switch {
			case at < 0:
				gs = append(gs, given{row, text, func(err error) error { return fmt.Errorf("--%s: %w", row.name, err) }})
			case row.many:
				gs[at].text += "," + text
			default:
				return errors.New("it is given twice")
			}
			return nil
		})
	}
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil, "", err
	case err != nil:
		return nil, "", p.flagError(err)
	case fs.NArg() > 0:
		return nil, "", fmt.Errorf("unexpected argument %q, %s takes only flags: see %s --help", fs.Arg(0), p.name, p.name)
	}
	return gs, file, nil
}

// flagError rewords an error of the flag package. That error may quote a secret
// value, so only the flag's name is kept.
func (p *program) flagError(err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return fmt.Errorf("%s has no flag --%s: %s", p.name, name, p.unknown(name, "--", func(s *setting) string { return s.name }))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return fmt.Errorf("--%s needs a value: see %s --help", name, p.name)
	}
	if _, rest, ok := strings.Cut(text, "for flag -"); ok {
		name, why, _ := strings.Cut(rest, ": ")
		return fmt.Errorf("--%s: %s", name, why)
	}
	return err
}

// environment reads the variables that begin with OFFERSTREAM_.
func (p *program) environment(environ []string) (gs []given, file string, errs []error) {
	for _, e := range environ {
		name, text, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if name == envPrefix+"CONFIG" {
			file = text
			continue
		}
		is := func(s *setting) bool { return s.inEnv() == name }
		row := p.row(is)
		switch {
		case row != nil:
		case gateway.row(is) != nil, worker.row(is) != nil, serviceLink.MatchString(name), strings.HasPrefix(text, "tcp://"):
			continue // programs may share an environment, and Kubernetes adds variables to it
		default:
			errs = append(errs, fmt.Errorf("%s has no setting %s: %s", p.name, name, p.unknown(name, "", (*setting).inEnv)))
			continue
		}
		gs = append(gs, given{row, text, func(err error) error { return fmt.Errorf("%s: %w", name, err) }})
	}
	return gs, file, errs
}

func (p *program) row(is func(*setting) bool) *setting {
	for i := range p.rows {
		if is(&p.rows[i]) {
			return &p.rows[i]
		}
	}
	return nil
}

// serviceLink matches the variables that Kubernetes adds for other services.
var serviceLink = lazyregexp.New(`_SERVICE_(HOST|PORT)(_|$)|_(TCP|UDP)(_(PROTO|PORT|ADDR))?$`)

// unknown returns a hint for a name that is not a setting of the program.
func (p *program) unknown(name, prefix string, as func(*setting) string) string {
	for _, other := range []*program{gateway, worker} {
		if other.row(func(s *setting) bool { return as(s) == name }) != nil {
			return fmt.Sprintf("it belongs to the %s: remove it here", other.name)
		}
	}
	var names []string
	for i := range p.rows {
		names = append(names, as(&p.rows[i]))
	}
	hint := didYouMean(name, names)
	if prefix != "" {
		hint = strings.Replace(hint, "did you mean \"", "did you mean \""+prefix, 1)
	}
	return hint
}

// help prints the text of --help.
func (p *program) help(out io.Writer) {
	fmt.Fprintf(out, "Usage: %s [flags]\n\n%s\n\n", p.name, p.about)
	fmt.Fprintf(out, "A setting can be given as a flag, as an environment variable or as a key in the\nfile that --config names. Flags override the environment, and the environment\noverrides the file.\n\n")
	fmt.Fprintf(out, "  --config FILE, %sCONFIG\n        settings in YAML, such as metrics_addr: 127.0.0.1:9090\n", envPrefix)
	for i := range p.rows {
		row := &p.rows[i]
		fmt.Fprintf(out, "  --%s %s, %s\n        %s", row.name, row.arg, row.inEnv(), row.about)
		switch {
		case row.def != "":
			fmt.Fprintf(out, " (default %s)", row.def)
		case row.need && len(row.or) > 0:
			fmt.Fprintf(out, " (required, unless there is %s)", strings.Join(row.or, " or "))
		case row.need:
			fmt.Fprint(out, " (required)")
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "\nExample:\n  %s\n", strings.ReplaceAll(p.example, "\n", "\n  "))
}
