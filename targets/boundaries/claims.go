package boundaries

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hallmark-build/hallmark/signing/compat"
	"github.com/hallmark-build/hallmark/signing/key"
)

// isKernel reports whether a judge is a Linux kernel.
func isKernel(name string) bool { return strings.HasPrefix(name, "linux-") }

func goVersion() string { return runtime.Version() }

// oneFile is what came of signing a PE and an ELF file by one PFX file.
type oneFile struct {
	made     string // by which program the PFX file was made
	accepted map[string][]string
	refused  []string
}

// measureC6 has openssl put a key and its chain into one PFX file, signs a PE
// and an ELF file with that, and asks the judges of both. The password is in no
// argument: openssl reads it from its standard input.
func (r *run) measureC6(ctx context.Context, js []compat.Judge) error {
	dir, err := os.MkdirTemp(r.Work, "c6-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := r.maker
	if err := m.open(); err != nil {
		return err
	}
	k := m.world.key(baseKey)
	der, err := x509.MarshalPKCS8PrivateKey(k.Signer)
	if err != nil {
		return err
	}
	var both bytes.Buffer
	both.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	both.Write(encodePEM(k.Chain...))
	const password = "correct horse"
	pfx := filepath.Join(dir, "one.pfx")
	if err := exportPFX(ctx, both.Bytes(), password, pfx); err != nil {
		return err
	}
	opened, err := key.Open(ctx, "pfx:"+pfx, key.Options{Password: func(string) ([]byte, error) { return []byte(password), nil }})
	if err != nil {
		return fmt.Errorf("opening what openssl made: %w", err)
	}
	one := &oneFile{accepted: map[string][]string{}}
	for _, pair := range [][2]string{{"pe-console", "authenticode"}, {"elf-static", "appended"}} {
		i := slices.IndexFunc(artifacts(), func(a artifact) bool { return a.name == pair[0] })
		p, err := m.unsigned(artifacts()[i])
		if err != nil {
			return nil // the filter left it out
		}
		s := schemeNamed(pair[1])
		if p, err = p.signed(ctx, s, digestOf(baseDigest), opened, m.world.stamps(time.Time{})); err != nil {
			return err
		}
		file, err := p.write(filepath.Join(dir, pair[0]), "")
		if err != nil {
			return err
		}
		asked := slices.DeleteFunc(slices.Clone(js), func(j compat.Judge) bool { return j.Scheme != s.judges || j.Name == ourJudge })
		for _, res := range compat.Run(ctx, asked, []compat.Case{{File: file, Scheme: s.judges}}, m.world.trust, runtime.NumCPU()) {
			switch res.Got {
			case Accept:
				one.accepted[pair[0]] = append(one.accepted[pair[0]], res.Judge)
			case Refuse:
				one.refused = append(one.refused, res.Judge)
			}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.one = one
	return nil
}

// claims weighs the claims of the article by what the cells say.
func (r *run) claims(cells []Cell) []Claim {
	texts := map[string]string{
		"C3": "Cross-compiling from WSL2 (GOOS=windows go build, -H windowsgui) gives valid PE and ELF from one tree",
		"C4": "PE needs Authenticode with SHA-256 and an RFC 3161 timestamp, or SmartScreen blocks it",
		"C5": "ELF is signed by elfsign or by objcopy --add-section, and verified by the Linux kernel's module check",
		"C6": "One .pfx cannot sign both: for ELF the public key must be exported and another tool chain adapted",
		"C7": "Delve hits 99.27 % of breakpoints on WSL2 and 99.91 % with a WinDbg back end; memory snapshots can be torn",
		"C8": "With more than 50 goroutines the debugger's view is 92.3 % right and 410 to 690 ms late",
		"C9": "A Go CPU profile on Windows loses symbols unless the debug file's signature matches the executable's time stamp",
	}
	var list []Claim
	add := func(id, verdict, why string) {
		list = append(list, Claim{ID: id, Text: texts[id], Verdict: verdict, Why: why})
	}
	var ran []compat.Result
	for _, c := range cells {
		if c.Result.Scheme == compat.Runs {
			ran = append(ran, c.Result)
		}
	}
	var e compat.Evidence
	if r.observed != nil {
		e = r.observed.Evidence
	}
	found := map[string]compat.Finding{}
	for _, f := range compat.Findings(ran, e) {
		found[f.Claim] = f
	}
	add("C3", found["C3"].Verdict, found["C3"].Why)
	add(r.c4(cells))
	add(r.c5(cells))
	add(r.c6())
	for _, id := range []string{"C7", "C8", "C9"} {
		add(id, found[id].Verdict, found[id].Why)
	}
	return list
}

// judgesOf lists the foreign judges that answered so in cells.
func judgesOf(cells []Cell, got string, want func(Cell) bool) []string {
	var names []string
	for _, c := range cells {
		if c.Judge != ourJudge && c.Got == got && want(c) && !slices.Contains(names, c.Judge) {
			names = append(names, c.Judge)
		}
	}
	slices.Sort(names)
	return names
}

// c4 is about Windows, which is not here; what judges of Authenticode say of
// digests and timestamps is.
func (r *run) c4(cells []Cell) (id, verdict, why string) {
	of := func(op string) func(Cell) bool {
		return func(c Cell) bool {
			return c.Scheme == "authenticode" && c.Operation == op && c.Result.Scheme == compat.Authenticode
		}
	}
	bare, stamped := judgesOf(cells, Accept, of("no-timestamp")), judgesOf(cells, Accept, of("expired-timestamped"))
	ended := judgesOf(cells, Refuse, of("expired"))
	if len(bare) == 0 || len(ended) == 0 {
		return "C4", compat.NotMeasurable, "no judge of Authenticode was asked, and SmartScreen is a service of Windows"
	}
	return "C4", compat.Depends, fmt.Sprintf("while the certificate is good, %s accept a file without a timestamp; once it has ended, %s refuse it, and %s accept one that was timestamped before. SmartScreen is a service of Windows and not measurable here",
		join(bare), join(ended), join(stamped))
}

func (r *run) c5(cells []Cell) (id, verdict, why string) {
	module := func(c Cell) bool { return strings.HasSuffix(c.Judge, "-module") && c.Scheme == "appended" }
	good := judgesOf(cells, Accept, func(c Cell) bool { return module(c) && c.Operation == none })
	bad := judgesOf(cells, Refuse, func(c Cell) bool { return module(c) && strings.HasPrefix(c.Operation, "flip-") })
	lost := 0
	for _, c := range cells {
		if c.Operation == "add-section" && c.Got == Refuse && c.Judge != ourJudge {
			lost++
		}
	}
	if len(good) == 0 {
		return "C5", compat.NotMeasurable, "no kernel was asked"
	}
	return "C5", compat.Depends, fmt.Sprintf("the module check of %s takes an appended signature on an executable, and %s refuse a flipped bit, but it is asked for modules only and guards no program: fs-verity with IPE, and IMA, do. objcopy --add-section lays the file out anew: in all %d cells it broke the signature that was there",
		join(good), join(bad), lost)
}

func (r *run) c6() (id, verdict, why string) {
	switch {
	case r.one == nil || len(r.one.accepted["pe-console"]) == 0 || len(r.one.accepted["elf-static"]) == 0:
		return "C6", compat.NotMeasurable, "no PFX file was made, or there was no judge for one of the two formats"
	case len(r.one.refused) > 0:
		return "C6", compat.Depends, "signed by one PFX file, the files were refused by " + join(r.one.refused)
	}
	return "C6", compat.Refuted, fmt.Sprintf("one PFX file, made by openssl, signed a PE file that %s accept and an ELF file that %s accept",
		join(r.one.accepted["pe-console"]), join(r.one.accepted["elf-static"]))
}
