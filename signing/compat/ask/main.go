// Command ask puts files before one judge, as reports of this project tell to
// do it:
//
//	go run github.com/hallmark-build/hallmark/signing/compat/ask -judge linux-6.12-verity -ca ca.pem FILE…
//
// Signatures stand beside the files. It prints the judge's version and, for
// each file, its verdict with the reason and its own words. Exit code 0: it
// accepts all files; 1: it refuses one; 2: it gave no verdict on one.
//
// With -keep it leaves the virtual machine of a kernel in a folder, and prints
// the line that boots it: kernel and emulator are Debian's, the answers are the
// names of errnos.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/hallmark-build/hallmark/signing/compat"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var (
		trust compat.Trust
		name  string
		keep  string
	)
	judges := slices.Concat(compat.Judges(), compat.KernelJudges())
	flags := flag.NewFlagSet("ask", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&name, "judge", "", "`name` of the judge; without it all are listed")
	flags.StringVar(&trust.CAFile, "ca", "", "PEM `file` of trusted certificates (default: the system's)")
	flags.StringVar(&trust.TSAFile, "tsa", "", "PEM `file` of certificates trusted for timestamps (default: the system's)")
	flags.StringVar(&trust.SignerFile, "signer", "", "PEM `file` with the signer's certificate, for signatures without one")
	flags.StringVar(&trust.PolicyFile, "policy", "", "signed IPE policy, DER `file`")
	flags.StringVar(&trust.IMAPolicyFile, "ima-policy", "", "rules for IMA, text `file` (default: each file must be signed)")
	flags.StringVar(&keep, "keep", "", "put a kernel's machine into the new `folder` and print the line that boots it, instead of asking")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if name == "" {
		for _, j := range judges {
			fmt.Fprintf(stdout, "%s (%s)\n    %s\n", j.Name, j.Scheme, j.Limits)
		}
		return 0
	}
	i := slices.IndexFunc(judges, func(j compat.Judge) bool { return j.Name == name })
	if i < 0 {
		fmt.Fprintf(stderr, "ask: no judge is called %q: ask without -judge lists them\n", name)
		return 2
	}
	if flags.NArg() == 0 {
		fmt.Fprintln(stderr, "ask: no file is named")
		return 2
	}
	if keep != "" {
		command, err := compat.Machine(ctx, name, flags.Args(), trust, keep)
		if err != nil {
			fmt.Fprintf(stderr, "ask: making the machine: %v\n", err)
			return 2
		}
		fmt.Fprintln(stdout, command)
		return 0
	}
	var cases []compat.Case
	for _, file := range flags.Args() {
		cases = append(cases, compat.Case{File: file, Scheme: judges[i].Scheme})
	}
	code := 0
	for n, r := range compat.Run(ctx, judges[i:i+1], cases, trust, 0) {
		if n == 0 {
			fmt.Fprintf(stdout, "%s, version %s\n", r.Judge, r.Version)
		}
		switch {
		case r.Status == compat.Skip:
			fmt.Fprintf(stdout, "%s: not judged: %s\n", r.Case, r.Reason)
			code = 2
		case r.Got == compat.Accept.String():
			fmt.Fprintf(stdout, "%s: accept\n", r.Case)
		default:
			fmt.Fprintf(stdout, "%s: %s: %s\n", r.Case, r.Got, r.Reason)
			if r.Got == compat.Refuse.String() {
				code = max(code, 1)
			} else {
				code = 2
			}
		}
		for l := range strings.Lines(r.Output) {
			fmt.Fprintf(stdout, "    %s\n", strings.TrimRight(l, "\n"))
		}
	}
	return code
}
