package boundaries

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/hallmark-build/hallmark/signing"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// ourJudge is the name of our own verifier among the judges. It is one more row
// and counts for nothing among those that are independent.
const ourJudge = "hallmark"

// judges returns all judges of the map, ours last. Each is looked for once.
func judges(sample compat.Sample) []compat.Judge {
	all := slices.Concat(compat.Judges(), compat.KernelJudges(), compat.RunJudges(sample))
	seen := map[string]bool{}
	for _, s := range schemes() {
		if !seen[s.judges] {
			seen[s.judges] = true
			all = append(all, ours(s.judges))
		}
	}
	for i, j := range all {
		if j.Find != nil {
			find := j.Find
			all[i].Find = once(find)
		}
		if j.FindKey != nil {
			all[i].FindKey = sync.OnceValues(j.FindKey)
		}
	}
	return all
}

// once remembers a judge's version, but not that the run was stopped.
func once(find func(context.Context) (string, error)) func(context.Context) (string, error) {
	var mu sync.Mutex
	var done bool
	var version string
	var err error
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if !done {
			version, err = find(ctx)
			done = ctx.Err() == nil
		}
		return version, err
	}
}

// ours is our own verifier of one scheme.
func ours(name string) compat.Judge {
	verify := func(ctx context.Context, file string, trust signing.Trust) error {
		if d := signing.DetachedByName(name); d != nil {
			_, err := d.Verify(ctx, file, file+d.Suffix(), trust)
			return err
		}
		s := schemeNamed(name).embedded(0)
		_, err := s.Verify(ctx, file, trust)
		return err
	}
	return compat.Judge{
		Name: ourJudge, Scheme: name,
		Limits: "Our own verifier, which is no stranger: it demands every rule that `mage verify` demands.",
		Find:   func(context.Context) (string, error) { return ownVersion(), nil },
		Verify: func(ctx context.Context, file string, trust compat.Trust) error {
			t, err := ourTrust(trust)
			if err != nil {
				return err
			}
			err = verify(ctx, file, t)
			var e *signing.Error
			if errors.As(err, &e) {
				e.File = "" // the case says which
				return &compat.RefusalError{Judge: ourJudge, Reason: e.Error()}
			}
			return err
		},
		Command: func(file string, trust compat.Trust) string {
			return fmt.Sprintf("mage verifyFile -ca=%s -tsaCA=%s %s", trust.CAFile, trust.TSAFile, file)
		},
	}
}

// ourTrust reads the files that the other judges are given.
func ourTrust(trust compat.Trust) (signing.Trust, error) {
	var t signing.Trust
	pool := func(file string) (*x509.CertPool, []*x509.Certificate, error) {
		if file == "" {
			return nil, nil, nil
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, err
		}
		pool := x509.NewCertPool()
		var certs []*x509.Certificate
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", file, err)
			}
			pool.AddCert(c)
			certs = append(certs, c)
		}
		return pool, certs, nil
	}
	var errs [3]error
	t.Roots, _, errs[0] = pool(trust.CAFile)
	t.TSARoots, _, errs[1] = pool(trust.TSAFile)
	_, t.Known, errs[2] = pool(trust.SignerFile)
	return t, errors.Join(errs[:]...)
}

// ownVersion is the version of this module, as far as it has one.
func ownVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == modulePath && m.Version != "" {
				return m.Version
			}
		}
	}
	return "(devel)"
}

// independent counts the judges that answered, without ours.
func independent(cells []Cell) []string {
	var names []string
	for _, c := range cells {
		if c.Judge != "" && c.Judge != ourJudge && (c.Got == Accept || c.Got == Refuse) && !slices.Contains(names, c.Judge) {
			names = append(names, c.Judge)
		}
	}
	slices.Sort(names)
	return names
}
