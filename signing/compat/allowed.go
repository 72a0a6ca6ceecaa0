package compat

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Allowed is a difference between what was expected of a judge and what it
// said that is known, has a reason, and is bearable for some time.
//
// It covers verdicts, and not the lack of one: that a judge crashes or says
// something unknown is allowed only where Got says so. Our own verifier is none
// of the judges that it can be about.
type Allowed struct {
	Judge  string `yaml:"judge" json:"judge"`             // its name
	Case   string `yaml:"case" json:"case,omitempty"`     // pattern of path.Match, of the case's name or of its last element; empty: every case
	Scheme string `yaml:"scheme" json:"scheme,omitempty"` // empty: every scheme
	Got    string `yaml:"got" json:"got,omitempty"`       // accept, refuse, crashed or unclear; empty: accept or refuse
	Reason string `yaml:"reason" json:"reason"`           // why it is bearable
	Until  string `yaml:"until" json:"until"`             // last day (UTC) on which it is, like 2027-01-31
}

// dateLayout is how a day is written.
const dateLayout = "2006-01-02"

func (a Allowed) validate(at func(key, format string, args ...any), judges []string) {
	switch {
	case a.Judge == "":
		at("judge", "missing: name the judge whose verdict is to be allowed")
	case !slices.Contains(judges, a.Judge):
		at("judge", "no judge %q: there are %s", a.Judge, strings.Join(judges, ", "))
	}
	if _, err := path.Match(a.Case, ""); err != nil {
		at("case", "%q is not a pattern: %v", a.Case, err)
	}
	if !slices.Contains([]string{"", "accept", "refuse", "crashed", "unclear"}, a.Got) {
		at("got", "%q is none of accept, refuse, crashed, unclear", a.Got)
	}
	if strings.TrimSpace(a.Reason) == "" {
		at("reason", "missing: say why the difference is bearable")
	}
	if _, err := time.Parse(dateLayout, a.Until); err != nil {
		at("until", "%q is not a day like 2027-01-31: nothing is allowed for ever", a.Until)
	}
}

// covers reports whether a failed result is the difference that is meant.
func (a Allowed) covers(r Result) bool {
	if a.Judge != r.Judge || a.Scheme != "" && a.Scheme != r.Scheme {
		return false
	}
	got, _, _ := strings.Cut(r.Got, ":")
	switch {
	case got == "": // nobody was asked
		return false
	case a.Got == "" && got != Accept.String() && got != Refuse.String(), a.Got != "" && a.Got != got:
		return false
	}
	if a.Case == "" {
		return true
	}
	whole, err := path.Match(a.Case, r.Case)
	base, _ := path.Match(a.Case, path.Base(r.Case))
	return err == nil && (whole || base)
}

// expired reports whether the last day is over.
func (a Allowed) expired(now time.Time) bool {
	day, err := time.Parse(dateLayout, a.Until)
	return err != nil || !now.Before(day.AddDate(0, 0, 1))
}

// Allow turns failures that are allowed into [Differ], and names the allowance
// in them. One that has expired leaves the failure, and is named in its reason.
// It returns the allowances that met no failure, expired or not: they may be
// taken out. What an earlier call has allowed is judged anew.
func Allow(results []Result, allowed []Allowed, now time.Time) (unused []Allowed) {
	used := make([]bool, len(allowed))
	for i := range results {
		r := &results[i]
		if r.Status == Differ {
			r.Status, r.Allowed = Fail, nil
		}
		if r.Status != Fail {
			continue
		}
		var late *Allowed
		for k, a := range allowed {
			if !a.covers(*r) {
				continue
			}
			used[k] = true
			if a.expired(now) {
				late = &a
				continue
			}
			r.Status, r.Allowed = Differ, &a
			break
		}
		if late != nil && r.Status == Fail && !strings.Contains(r.Reason, allowedUntil) {
			r.Reason = strings.TrimPrefix(fmt.Sprintf("%s; %s %s (%s): look at it again, and set another day or mend it", r.Reason, allowedUntil, late.Until, late.Reason), "; ")
		}
	}
	for k, a := range allowed {
		if !used[k] {
			unused = append(unused, a)
		}
	}
	return unused
}

// allowedUntil begins what the reason of a failure says of an allowance that
// has expired.
const allowedUntil = "it was allowed until"
