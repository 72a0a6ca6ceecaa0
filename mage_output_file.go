//go:build ignore
// +build ignore

package main

import (
	_context "context"
	_flag "flag"
	_fmt "fmt"
	_io "io"
	_log "log"
	_os "os"
	_signal "os/signal"
	_filepath "path/filepath"
	_sort "sort"
	_strconv "strconv"
	_strings "strings"
	_syscall "syscall"
	_tabwriter "text/tabwriter"
	_time "time"
	targets_mageimport "github.com/hallmark-build/hallmark/targets"
	
)

func main() {
	// Use local types and functions in order to avoid name conflicts with additional magefiles.
	type arguments struct {
		Verbose       bool          // print out log statements
		List          bool          // print out a list of targets
		Help          bool          // print out help for a specific target
		Timeout       _time.Duration // set a timeout to running the targets
		Args          []string      // args contain the non-flag command-line arguments
	}

	parseBool := func(env string) bool {
		val := _os.Getenv(env)
		if val == "" {
			return false
		}		
		b, err := _strconv.ParseBool(val)
		if err != nil {
			_log.Printf("warning: environment variable %s is not a valid bool value: %v", env, val)
			return false
		}
		return b
	}

	parseDuration := func(env string) _time.Duration {
		val := _os.Getenv(env)
		if val == "" {
			return 0
		}		
		d, err := _time.ParseDuration(val)
		if err != nil {
			_log.Printf("warning: environment variable %s is not a valid duration value: %v", env, val)
			return 0
		}
		return d
	}
	args := arguments{}
	fs := _flag.FlagSet{}
	fs.SetOutput(_os.Stdout)

	// default flag set with ExitOnError and auto generated PrintDefaults should be sufficient
	fs.BoolVar(&args.Verbose, "v", parseBool("MAGEFILE_VERBOSE"), "show verbose output when running targets")
	fs.BoolVar(&args.List, "l", parseBool("MAGEFILE_LIST"), "list targets for this binary")
	fs.BoolVar(&args.Help, "h", parseBool("MAGEFILE_HELP"), "print out help for a specific target")
	fs.DurationVar(&args.Timeout, "t", parseDuration("MAGEFILE_TIMEOUT"), "timeout in duration parsable format (e.g. 5m30s)")
	fs.Usage = func() {
		_fmt.Fprintf(_os.Stdout, `
%s [options] [target]

Commands:
  -l    list targets in this binary
  -h    show this help

Options:
  -h    show description of a target
  -t <string>
        timeout in duration parsable format (e.g. 5m30s)
  -v    show verbose output when running targets
 `[1:], _filepath.Base(_os.Args[0]))
	}
	if err := fs.Parse(_os.Args[1:]); err != nil {
		// flag will have printed out an error already.
		return
	}
	args.Args = fs.Args()
	if args.Help && len(args.Args) == 0 {
		fs.Usage()
		return
	}
		
	var printName = func(str string) string {
	// color is ANSI color type
	type color int

	// If you add/change/remove any items in this constant,
	// you will need to run "stringer -type=color" in this directory again.
	// NOTE: Please keep the list in an alphabetical order.
	const (
		black color = iota
		red
		green
		yellow
		blue
		magenta
		cyan
		white
		brightblack
		brightred
		brightgreen
		brightyellow
		brightblue
		brightmagenta
		brightcyan
		brightwhite
	)

	// AnsiColor are ANSI color codes for supported terminal colors.
	var ansiColor = map[color]string{
		black:         "\u001b[30m",
		red:           "\u001b[31m",
		green:         "\u001b[32m",
		yellow:        "\u001b[33m",
		blue:          "\u001b[34m",
		magenta:       "\u001b[35m",
		cyan:          "\u001b[36m",
		white:         "\u001b[37m",
		brightblack:   "\u001b[30;1m",
		brightred:     "\u001b[31;1m",
		brightgreen:   "\u001b[32;1m",
		brightyellow:  "\u001b[33;1m",
		brightblue:    "\u001b[34;1m",
		brightmagenta: "\u001b[35;1m",
		brightcyan:    "\u001b[36;1m",
		brightwhite:   "\u001b[37;1m",
	}

	const colorName = "blackredgreenyellowbluemagentacyanwhitebrightblackbrightredbrightgreenbrightyellowbrightbluebrightmagentabrightcyanbrightwhite"

	var colorIndex = [...]uint8{0, 5, 8, 13, 19, 23, 30, 34, 39, 50, 59, 70, 82, 92, 105, 115, 126}

	colorToLowerString := func(i color) string {
		if i < 0 || i >= color(len(colorIndex)-1) {
			return "color(" + _strconv.FormatInt(int64(i), 10) + ")"
		}
		return colorName[colorIndex[i]:colorIndex[i+1]]
	}

	// ansiColorReset is an ANSI color code to reset the terminal color.
	const ansiColorReset = "\033[0m"

	// defaultTargetAnsiColor is a default ANSI color for colorizing targets.
	// It is set to Cyan as an arbitrary color, because it has a neutral meaning
	var defaultTargetAnsiColor = ansiColor[cyan]

	getAnsiColor := func(color string) (string, bool) {
		colorLower := _strings.ToLower(color)
		for k, v := range ansiColor {
			colorConstLower := colorToLowerString(k)
			if colorConstLower == colorLower {
				return v, true
			}
		}
		return "", false
	}

	// Terminals which  don't support color:
	//
	//	TERM=vt100
	//	TERM=cygwin
	//	TERM=xterm-mono
	var noColorTerms = map[string]bool{
		"vt100":      false,
		"cygwin":     false,
		"xterm-mono": false,
	}

	// terminalSupportsColor checks if the current console supports color output
	//
	// Supported:
	//
	//	linux, mac, or windows's ConEmu, Cmder, putty, git-bash.exe, pwsh.exe
	//
	// Not supported:
	//
	//	windows cmd.exe, powerShell.exe
	terminalSupportsColor := func() bool {
		envTerm := _os.Getenv("TERM")
		if _, ok := noColorTerms[envTerm]; ok {
			return false
		}
		return true
	}

	// enableColor reports whether the user has requested to enable a color output.
	enableColor := func() bool {
		b, _ := _strconv.ParseBool(_os.Getenv("MAGEFILE_ENABLE_COLOR"))
		return b
	}

	// targetColor returns the ANSI color which should be used to colorize targets.
	targetColor := func() string {
		s, exists := _os.LookupEnv("MAGEFILE_TARGET_COLOR")
		if exists {
			if c, ok := getAnsiColor(s); ok {
				return c
			}
		}
		return defaultTargetAnsiColor
	}

	// store the color terminal variables, so that the detection isn't repeated for each target
	var enableColorValue = enableColor() && terminalSupportsColor()
	var targetColorValue = targetColor()

	if enableColorValue {
		return _fmt.Sprintf("%s%s%s", targetColorValue, str, ansiColorReset)
	}

	return str
}


	list := func() error {
		
		targets := map[string]string{
			"addCertificates": "embeds in the signature of a PE file those of a PEM file that its signer has left out.",
			"attach": "puts a signature that was made elsewhere into a PE file.",
			"benchCompare": "sets two results of benchmarks side by side: of two machines, two toolchains or two runs.",
			"benchPage": "draws the page of a benchmark's result again, from the result file alone.",
			"benchRace": "measures what the race detector costs and finds: time, memory, planted races.",
			"benchServe": "measures a net/http program under load: requests per second, latency, CPU time and memory.",
			"benchToolchains": "times C compilers, linkers and Go versions by phase, and says which differences are real.",
			"boundaries": "makes the map of compatibility boundaries: which verifier accepts what, after which operation, for which key.",
			"boundariesReport": "draws report.html and report.md of a map of boundaries again, from its record alone.",
			"build": "compiles all programs for all targets into dist, unsigned; it needs no identity.",
			"check": "tells whether a release could begin: configuration, identity, compilers, programs.",
			"clean": "removes from dist what hallmark made, and nothing else.",
			"doctor": "prints a table of the tools: version, place, and what lacks without each.",
			"enforce": "writes a folder with all that makes Linux refuse what the identity has not signed: keys, policies, script, README.",
			"extract": "writes what is to be signed of a PE file, for a machine that has the key and not the file.",
			"init": "writes a commented hallmark.yaml for the module it stands in.",
			"inspect": "prints what is in a file: signers, chains, digests, timestamps, nested signatures, each rule's verdict.",
			"package": "packs the signed programs of dist into archives and packages, with SHA256SUMS.",
			"release": "makes the whole release: builds, signs, packs and verifies into dist.",
			"rules": "lists the rules of verification, and what turning one off would let pass.",
			"setup": "installs the tools that the stages and tests use, on Debian and Ubuntu.",
			"sign": "signs the programs that build left in dist; it compiles nothing.",
			"signExtracted": "signs what extract wrote.",
			"signFile": "signs a file that was built elsewhere, where it stands.",
			"test": "vets and tests all packages of the module; a skipped test is a failure.",
			"timestampFile": "gives the signature of a PE file the timestamp that it lacks.",
			"unsign": "takes the signature off a PE or ELF file.",
			"verify": "judges all files of dist by our verifier and by the foreign ones that are installed.",
			"verifyFile": "verifies the signatures in a file and beside it; the exit code says what is wrong.",
		}

		keys := make([]string, 0, len(targets))
		for name := range targets {
			keys = append(keys, name)
		}
		_sort.Strings(keys)

		_fmt.Println("Targets:")
		w := _tabwriter.NewWriter(_os.Stdout, 0, 4, 4, ' ', 0)
		for _, name := range keys {
			_fmt.Fprintf(w, "  %v\t%v\n", printName(name), targets[name])
		}
		err := w.Flush()
		return err
	}

	var ctx _context.Context
	ctxCancel := func(){}

	// by deferring in a closure, we let the cancel function get replaced
	// by the getContext function.
	defer func() {
		ctxCancel()
	}()

	getContext := func() (_context.Context, func()) {
		if ctx == nil {
			if args.Timeout != 0 {
				ctx, ctxCancel = _context.WithTimeout(_context.Background(), args.Timeout)
			} else {
				ctx, ctxCancel = _context.WithCancel(_context.Background())
			}
		}

		return ctx, ctxCancel
	}

	runTarget := func(logger *_log.Logger, fn func(_context.Context) error) interface{} {
		var err interface{}
		ctx, cancel := getContext()
		d := make(chan interface{})
		go func() {
			defer func() {
				err := recover()
				d <- err
			}()
			err := fn(ctx)
			d <- err
		}()
		sigCh := make(chan _os.Signal, 1)
		_signal.Notify(sigCh, _syscall.SIGINT)
		select {
		case <-sigCh:
			logger.Println("cancelling mage targets, waiting up to 5 seconds for cleanup...")
			cancel()
			cleanupCh := _time.After(5 * _time.Second)

			select {
			// target exited by itself
			case err = <-d:
				return err
			// cleanup timeout exceeded
			case <-cleanupCh:
				return _fmt.Errorf("cleanup timeout exceeded")
			// second SIGINT received
			case <-sigCh:
				logger.Println("exiting mage")
				return _fmt.Errorf("exit forced")
			}
		case <-ctx.Done():
			cancel()
			e := ctx.Err()
			_fmt.Printf("ctx err: %v\n", e)
			return e
		case err = <-d:
			// we intentionally don't cancel the context here, because
			// the next target will need to run with the same _context.
			return err
		}
	}
	// This is necessary in case there aren't any targets, to avoid an unused
	// variable error.
	_ = runTarget

	handleError := func(logger *_log.Logger, err interface{}) {
		if err != nil {
			logger.Printf("Error: %+v\n", err)
			type code interface {
				ExitStatus() int
			}
			if c, ok := err.(code); ok {
				_os.Exit(c.ExitStatus())
			}
			_os.Exit(1)
		}
	}
	_ = handleError

	// Set MAGEFILE_VERBOSE so mg.Verbose() reflects the flag value.
	if args.Verbose {
		_os.Setenv("MAGEFILE_VERBOSE", "1")
	} else {
		_os.Setenv("MAGEFILE_VERBOSE", "0")
	}

	_log.SetFlags(0)
	if !args.Verbose {
		_log.SetOutput(_io.Discard)
	}
	logger := _log.New(_os.Stderr, "", 0)
	if args.List {
		if err := list(); err != nil {
			_log.Println(err)
			_os.Exit(1)
		}
		return
	}

	if args.Help {
		if len(args.Args) < 1 {
			logger.Println("no target specified")
			_os.Exit(2)
		}
		switch _strings.ToLower(args.Args[0]) {
			case "addcertificates":
				_fmt.Println("AddCertificates embeds in the signature of a PE file those of a PEM file that its signer has left out.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage addcertificates <path> <certificates> [<flags>]\n\n")
				_fmt.Print("Flags:\n\n\t-ca=<string>\n\t-tsaCA=<string>\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "attach":
				_fmt.Println("Attach puts a signature that was made elsewhere into a PE file.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage attach <path> <signature> [<flags>]\n\n")
				_fmt.Print("Flags:\n\n\t-ca=<string>\n\t-tsaCA=<string>\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "benchcompare":
				_fmt.Println("BenchCompare sets two results of benchmarks side by side: of two machines, two toolchains or two runs.  It compares only what both measured of the same program, and calls a difference only what the data carry; the rest prints ~.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage benchcompare <a> <b> [-html=<string>]\n\n")
				_fmt.Print("Flags:\n\n\t-html=<string>  file of a page to draw, too\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "benchpage":
				_fmt.Println("BenchPage draws the page of a benchmark's result again, from the result file alone.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage benchpage <result> <html>\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "benchrace":
				_fmt.Println("BenchRace measures what the race detector costs and finds: time, memory, planted races.  The program is hallmark's own. Give the results of two machines to benchCompare.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage benchrace [<flags>]\n\n")
				_fmt.Print("Flags:\n\n\t-out=<string>   the result's files, without extension\n\t-runs=<int>     runs of each series, at least\n\t-more=<string>  how long more runs are made of what is still uncertain: 5m\n\t-seed=<int>     of the random order, to repeat a run\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "benchserve":
				_fmt.Println("BenchServe measures a net/http program under load: requests per second, latency, CPU time and memory.  The program is hallmark's own. Give the results of two machines to benchCompare.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage benchserve [<flags>]\n\n")
				_fmt.Print("Flags:\n\n\t-out=<string>   the result's files, without extension\n\t-runs=<int>     runs of each series, at least\n\t-more=<string>  how long more runs are made of what is still uncertain: 5m\n\t-seed=<int>     of the random order, to repeat a run\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "benchtoolchains":
				_fmt.Println("BenchToolchains times C compilers, linkers and Go versions by phase, and says which differences are real.  It builds the program of hallmark.yaml, or its own programs where there is none, and ends within six minutes on two cores.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage benchtoolchains [<flags>]\n\n")
				_fmt.Print("Flags:\n\n\t-quick=<bool>     within a minute: relinking and a changed Go file alone\n\t-full=<bool>      everything, cold builds of all toolchains included: hours\n\t-samples=<bool>   hallmark's own programs, in spite of a hallmark.yaml\n\t-filter=<string>  measure only series whose dimensions match: 'linker=(bfd|lld)'\n\t-out=<string>     the result's files, without extension\n\t-seed=<int>       of the random order, to repeat a run\n\t-pin=<string>     processors to run on: 0,1\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "boundaries":
				_fmt.Println("Boundaries makes the map of compatibility boundaries: which verifier accepts what, after which operation, for which key.  It takes minutes; what was heard in an earlier run is not heard again. The exit code is 1 if a cell is not as expected.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage boundaries [<flags>]\n\n")
				_fmt.Print("Flags:\n\n\t-filter=<string>  words FIELD=PATTERN for artifact, scheme, key, digest, operation, judge: only these cells\n\t-fresh=<bool>     take over nothing from an earlier run\n\t-out=<string>     folder of the map and its reports; default dist/boundaries\n\t-strict=<bool>    what cannot be judged on this machine is a failure; so is it with HALLMARK_STRICT\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "boundariesreport":
				_fmt.Println("BoundariesReport draws report.html and report.md of a map of boundaries again, from its record alone.  The record is boundaries.json, or the folder that it stands in.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage boundariesreport <record>\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "build":
				_fmt.Println("Build compiles all programs for all targets into dist, unsigned; it needs no identity.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage build\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "check":
				_fmt.Println("Check tells whether a release could begin: configuration, identity, compilers, programs.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage check\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "clean":
				_fmt.Println("Clean removes from dist what hallmark made, and nothing else.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage clean\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "doctor":
				_fmt.Println("Doctor prints a table of the tools: version, place, and what lacks without each.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage doctor\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "enforce":
				_fmt.Println("Enforce writes a folder with all that makes Linux refuse what the identity has not signed: keys, policies, script, README.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage enforce <folder>\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "extract":
				_fmt.Println("Extract writes what is to be signed of a PE file, for a machine that has the key and not the file.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage extract <path> <data>\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "init":
				_fmt.Println("Init writes a commented hallmark.yaml for the module it stands in.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage init\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "inspect":
				_fmt.Println("Inspect prints what is in a file: signers, chains, digests, timestamps, nested signatures, each rule's verdict.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage inspect <path> [<flags>]\n\n")
				_fmt.Print("Flags:\n\n\t-json=<bool>     for machines\n\t-ca=<string>     PEM file of roots to trust for the signer\n\t-tsaCA=<string>  PEM file of roots to trust for the timestamp server\n\t-crl=<string>    file of revocation lists, PEM or DER\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "package":
				_fmt.Println("Package packs the signed programs of dist into archives and packages, with SHA256SUMS.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage package\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "release":
				_fmt.Println("Release makes the whole release: builds, signs, packs and verifies into dist.  What has not changed since the last release is not made again. If anything fails, dist stays as it was.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage release\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "rules":
				_fmt.Println("Rules lists the rules of verification, and what turning one off would let pass.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage rules\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "setup":
				_fmt.Println("Setup installs the tools that the stages and tests use, on Debian and Ubuntu.  All of them are some 600 MB to fetch, and several are compiled.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage setup [-lean=<bool>]\n\n")
				_fmt.Print("Flags:\n\n\t-lean=<bool>  compilers and the judges that are small: enough for a release that is not strict\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "sign":
				_fmt.Println("Sign signs the programs that build left in dist; it compiles nothing.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage sign\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "signextracted":
				_fmt.Println("SignExtracted signs what extract wrote.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage signextracted <data> <signature>\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "signfile":
				_fmt.Println("SignFile signs a file that was built elsewhere, where it stands.  It may be a PE or ELF file, an MSI, CAB or MSIX package, a security catalog, or a PowerShell file; the signed file replaces the old one in one rename, or nothing changes. With -beside any file is signed, in a file of its own. A quoted pattern like 'out/*.exe' means many files, signed several at a time.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage signfile <path> [<flags>]\n\n")
				_fmt.Print("Flags:\n\n\t-beside=<string>  p7s, bundle, verity or ima: sign beside the file, which stays as it is\n\t-xattr=<bool>     with -beside=ima: set the attribute security.ima too, which takes root\n\t-nest=<bool>      add a signature to the one that a PE file has, nested in it\n\t-ca=<string>      PEM file of roots to trust for the signer, when the result is verified\n\t-tsaCA=<string>   PEM file of roots to trust for the timestamp server\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "test":
				_fmt.Println("Test vets and tests all packages of the module; a skipped test is a failure.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage test\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "timestampfile":
				_fmt.Println("TimestampFile gives the signature of a PE file the timestamp that it lacks.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage timestampfile <path> [<flags>]\n\n")
				_fmt.Print("Flags:\n\n\t-ca=<string>\n\t-tsaCA=<string>\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "unsign":
				_fmt.Println("Unsign takes the signature off a PE or ELF file.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage unsign <path>\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "verify":
				_fmt.Println("Verify judges all files of dist by our verifier and by the foreign ones that are installed.  It trusts the certificates of hallmark.yaml's trust, else those in dist/trust. Only the results in manifest.json, and the reports, are written.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage verify\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				case "verifyfile":
				_fmt.Println("VerifyFile verifies the signatures in a file and beside it; the exit code says what is wrong.  It trusts the certificates named here, else those of hallmark.yaml's trust, else the root of the identity.")
				_fmt.Println()
				
				_fmt.Print("Usage:\n\n\tmage verifyfile <path> [<flags>]\n\n")
				_fmt.Print("Flags:\n\n\t-ca=<string>     PEM file of roots to trust for the signer\n\t-tsaCA=<string>  PEM file of roots to trust for the timestamp server\n\t-crl=<string>    file of revocation lists, PEM or DER\n\n")
				var aliases []string
				if len(aliases) > 0 {
					_sort.Strings(aliases)
					_fmt.Printf("Aliases: %s\n\n", _strings.Join(aliases, ", "))
				}
				return
				default:
				logger.Printf("Unknown target: %q\n", args.Args[0])
				_os.Exit(2)
		}
	}
	if len(args.Args) < 1 {
		if err := list(); err != nil {
			logger.Println("Error:", err)
			_os.Exit(1)
		}
		return
	}
	for x := 0; x < len(args.Args); {
		target := args.Args[x]
		x++

		// resolve aliases
		switch _strings.ToLower(target) {
		
		}

		switch _strings.ToLower(target) {
		
		
		
			
				case "addcertificates":
					expected := x + 2
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"AddCertificates\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "AddCertificates")
					}
					
			arg0 := args.Args[x]
			x++
			arg1 := args.Args[x]
			x++
				var arg2 *string
				var arg3 *string
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						default:
							logger.Printf("invalid option %q for target \"AddCertificates\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "ca":
						_tmp2 := _optVal
						arg2 = &_tmp2
					case "tsaca":
						_tmp3 := _optVal
						arg3 = &_tmp3
					default:
						logger.Printf("unknown option %q for target \"AddCertificates\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.AddCertificates(ctx, arg0, arg1, arg2, arg3)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "attach":
					expected := x + 2
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Attach\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Attach")
					}
					
			arg0 := args.Args[x]
			x++
			arg1 := args.Args[x]
			x++
				var arg2 *string
				var arg3 *string
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						default:
							logger.Printf("invalid option %q for target \"Attach\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "ca":
						_tmp2 := _optVal
						arg2 = &_tmp2
					case "tsaca":
						_tmp3 := _optVal
						arg3 = &_tmp3
					default:
						logger.Printf("unknown option %q for target \"Attach\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Attach(ctx, arg0, arg1, arg2, arg3)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "benchcompare":
					expected := x + 2
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"BenchCompare\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "BenchCompare")
					}
					
			arg0 := args.Args[x]
			x++
			arg1 := args.Args[x]
			x++
				var arg2 *string
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						default:
							logger.Printf("invalid option %q for target \"BenchCompare\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "html":
						_tmp2 := _optVal
						arg2 = &_tmp2
					default:
						logger.Printf("unknown option %q for target \"BenchCompare\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.BenchCompare(ctx, arg0, arg1, arg2)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "benchpage":
					expected := x + 2
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"BenchPage\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "BenchPage")
					}
					
			arg0 := args.Args[x]
			x++
			arg1 := args.Args[x]
			x++
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.BenchPage(ctx, arg0, arg1)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "benchrace":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"BenchRace\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "BenchRace")
					}
					
				var arg0 *string
				var arg1 *int
				var arg2 *string
				var arg3 *int
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						default:
							logger.Printf("invalid option %q for target \"BenchRace\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "out":
						_tmp0 := _optVal
						arg0 = &_tmp0
					case "runs":
						_tmp1, err := _strconv.Atoi(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to int\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg1 = &_tmp1
					case "more":
						_tmp2 := _optVal
						arg2 = &_tmp2
					case "seed":
						_tmp3, err := _strconv.Atoi(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to int\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg3 = &_tmp3
					default:
						logger.Printf("unknown option %q for target \"BenchRace\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.BenchRace(ctx, arg0, arg1, arg2, arg3)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "benchserve":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"BenchServe\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "BenchServe")
					}
					
				var arg0 *string
				var arg1 *int
				var arg2 *string
				var arg3 *int
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						default:
							logger.Printf("invalid option %q for target \"BenchServe\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "out":
						_tmp0 := _optVal
						arg0 = &_tmp0
					case "runs":
						_tmp1, err := _strconv.Atoi(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to int\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg1 = &_tmp1
					case "more":
						_tmp2 := _optVal
						arg2 = &_tmp2
					case "seed":
						_tmp3, err := _strconv.Atoi(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to int\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg3 = &_tmp3
					default:
						logger.Printf("unknown option %q for target \"BenchServe\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.BenchServe(ctx, arg0, arg1, arg2, arg3)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "benchtoolchains":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"BenchToolchains\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "BenchToolchains")
					}
					
				var arg0 *bool
				var arg1 *bool
				var arg2 *bool
				var arg3 *string
				var arg4 *string
				var arg5 *int
				var arg6 *string
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						case "quick":
							_optVal = "true"
						case "full":
							_optVal = "true"
						case "samples":
							_optVal = "true"
						default:
							logger.Printf("invalid option %q for target \"BenchToolchains\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "quick":
						_tmp0, err := _strconv.ParseBool(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to bool\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg0 = &_tmp0
					case "full":
						_tmp1, err := _strconv.ParseBool(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to bool\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg1 = &_tmp1
					case "samples":
						_tmp2, err := _strconv.ParseBool(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to bool\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg2 = &_tmp2
					case "filter":
						_tmp3 := _optVal
						arg3 = &_tmp3
					case "out":
						_tmp4 := _optVal
						arg4 = &_tmp4
					case "seed":
						_tmp5, err := _strconv.Atoi(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to int\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg5 = &_tmp5
					case "pin":
						_tmp6 := _optVal
						arg6 = &_tmp6
					default:
						logger.Printf("unknown option %q for target \"BenchToolchains\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.BenchToolchains(ctx, arg0, arg1, arg2, arg3, arg4, arg5, arg6)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "boundaries":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Boundaries\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Boundaries")
					}
					
				var arg0 *string
				var arg1 *bool
				var arg2 *string
				var arg3 *bool
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						case "fresh":
							_optVal = "true"
						case "strict":
							_optVal = "true"
						default:
							logger.Printf("invalid option %q for target \"Boundaries\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "filter":
						_tmp0 := _optVal
						arg0 = &_tmp0
					case "fresh":
						_tmp1, err := _strconv.ParseBool(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to bool\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg1 = &_tmp1
					case "out":
						_tmp2 := _optVal
						arg2 = &_tmp2
					case "strict":
						_tmp3, err := _strconv.ParseBool(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to bool\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg3 = &_tmp3
					default:
						logger.Printf("unknown option %q for target \"Boundaries\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Boundaries(ctx, arg0, arg1, arg2, arg3)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "boundariesreport":
					expected := x + 1
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"BoundariesReport\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "BoundariesReport")
					}
					
			arg0 := args.Args[x]
			x++
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.BoundariesReport(arg0)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "build":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Build\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Build")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Build(ctx)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "check":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Check\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Check")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Check(ctx)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "clean":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Clean\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Clean")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Clean()
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "doctor":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Doctor\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Doctor")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Doctor(ctx)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "enforce":
					expected := x + 1
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Enforce\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Enforce")
					}
					
			arg0 := args.Args[x]
			x++
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Enforce(ctx, arg0)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "extract":
					expected := x + 2
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Extract\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Extract")
					}
					
			arg0 := args.Args[x]
			x++
			arg1 := args.Args[x]
			x++
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Extract(ctx, arg0, arg1)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "init":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Init\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Init")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Init(ctx)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "inspect":
					expected := x + 1
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Inspect\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Inspect")
					}
					
			arg0 := args.Args[x]
			x++
				var arg1 *bool
				var arg2 *string
				var arg3 *string
				var arg4 *string
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						case "json":
							_optVal = "true"
						default:
							logger.Printf("invalid option %q for target \"Inspect\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "json":
						_tmp1, err := _strconv.ParseBool(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to bool\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg1 = &_tmp1
					case "ca":
						_tmp2 := _optVal
						arg2 = &_tmp2
					case "tsaca":
						_tmp3 := _optVal
						arg3 = &_tmp3
					case "crl":
						_tmp4 := _optVal
						arg4 = &_tmp4
					default:
						logger.Printf("unknown option %q for target \"Inspect\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Inspect(ctx, arg0, arg1, arg2, arg3, arg4)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "package":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Package\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Package")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Package(ctx)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "release":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Release\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Release")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Release(ctx)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "rules":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Rules\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Rules")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Rules()
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "setup":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Setup\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Setup")
					}
					
				var arg0 *bool
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						case "lean":
							_optVal = "true"
						default:
							logger.Printf("invalid option %q for target \"Setup\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "lean":
						_tmp0, err := _strconv.ParseBool(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to bool\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg0 = &_tmp0
					default:
						logger.Printf("unknown option %q for target \"Setup\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Setup(ctx, arg0)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "sign":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Sign\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Sign")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Sign(ctx)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "signextracted":
					expected := x + 2
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"SignExtracted\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "SignExtracted")
					}
					
			arg0 := args.Args[x]
			x++
			arg1 := args.Args[x]
			x++
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.SignExtracted(ctx, arg0, arg1)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "signfile":
					expected := x + 1
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"SignFile\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "SignFile")
					}
					
			arg0 := args.Args[x]
			x++
				var arg1 *string
				var arg2 *bool
				var arg3 *bool
				var arg4 *string
				var arg5 *string
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						case "xattr":
							_optVal = "true"
						case "nest":
							_optVal = "true"
						default:
							logger.Printf("invalid option %q for target \"SignFile\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "beside":
						_tmp1 := _optVal
						arg1 = &_tmp1
					case "xattr":
						_tmp2, err := _strconv.ParseBool(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to bool\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg2 = &_tmp2
					case "nest":
						_tmp3, err := _strconv.ParseBool(_optVal)
						if err != nil {
							logger.Printf("can't convert option %q value %q to bool\n", _optName, _optVal)
							_os.Exit(2)
						}
						arg3 = &_tmp3
					case "ca":
						_tmp4 := _optVal
						arg4 = &_tmp4
					case "tsaca":
						_tmp5 := _optVal
						arg5 = &_tmp5
					default:
						logger.Printf("unknown option %q for target \"SignFile\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.SignFile(ctx, arg0, arg1, arg2, arg3, arg4, arg5)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "test":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Test\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Test")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Test(ctx)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "timestampfile":
					expected := x + 1
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"TimestampFile\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "TimestampFile")
					}
					
			arg0 := args.Args[x]
			x++
				var arg1 *string
				var arg2 *string
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						default:
							logger.Printf("invalid option %q for target \"TimestampFile\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "ca":
						_tmp1 := _optVal
						arg1 = &_tmp1
					case "tsaca":
						_tmp2 := _optVal
						arg2 = &_tmp2
					default:
						logger.Printf("unknown option %q for target \"TimestampFile\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.TimestampFile(ctx, arg0, arg1, arg2)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "unsign":
					expected := x + 1
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Unsign\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Unsign")
					}
					
			arg0 := args.Args[x]
			x++
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Unsign(ctx, arg0)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "verify":
					expected := x + 0
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"Verify\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "Verify")
					}
					
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.Verify(ctx)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
				case "verifyfile":
					expected := x + 1
					if expected > len(args.Args) {
						// note that expected and args at this point include the arg for the target itself
						// so we subtract 1 here to show the number of args without the target.
						logger.Printf("not enough arguments for target \"VerifyFile\", expected %v, got %v\n", expected-1, len(args.Args)-1)
						_os.Exit(2)
					}
					if args.Verbose {
						logger.Println("Running target:", "VerifyFile")
					}
					
			arg0 := args.Args[x]
			x++
				var arg1 *string
				var arg2 *string
				var arg3 *string
				for x < len(args.Args) && _strings.HasPrefix(args.Args[x], "-") {
					_optArg := args.Args[x]
					_eqIdx := _strings.Index(_optArg, "=")
					var _optName, _optVal string
					if _eqIdx < 0 {
						_optName = _strings.ToLower(_optArg[1:])
						switch _optName {
						default:
							logger.Printf("invalid option %q for target \"VerifyFile\", expected -name=value format\n", _optArg)
							_os.Exit(2)
						}
					} else {
						_optName = _strings.ToLower(_optArg[1:_eqIdx])
						_optVal = _optArg[_eqIdx+1:]
					}
					switch _optName {
					case "ca":
						_tmp1 := _optVal
						arg1 = &_tmp1
					case "tsaca":
						_tmp2 := _optVal
						arg2 = &_tmp2
					case "crl":
						_tmp3 := _optVal
						arg3 = &_tmp3
					default:
						logger.Printf("unknown option %q for target \"VerifyFile\"\n", _optName)
						_os.Exit(2)
					}
					x++
				}
				wrapFn := func(ctx _context.Context) error {
					return targets_mageimport.VerifyFile(ctx, arg0, arg1, arg2, arg3)
				}
				ret := runTarget(logger, wrapFn)
					handleError(logger, ret)
		default:
			logger.Printf("Unknown target specified: %q\n", target)
			_os.Exit(2)
		}
	}
}




