package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// job and caseOf are what the guest is asked, and answer what it says; see the
// package guest.
type job struct {
	Certificates    [][]byte `json:"certificates"`
	IMACertificates [][]byte `json:"imaCertificates"`
	Policy          []byte   `json:"policy"`
	IMAPolicy       []byte   `json:"imaPolicy"`
	Cases           []caseOf `json:"cases"`
}

type caseOf struct {
	Check     string `json:"check"`
	Signature []byte `json:"signature"`
	Algorithm uint32 `json:"algorithm"`
}

type answerLine struct {
	Ready   string   `json:"ready"`
	Check   string   `json:"check"`
	Problem string   `json:"problem"`
	Errno   string   `json:"errno"`
	Case    *int     `json:"case"`
	Steps   []step   `json:"steps"`
	Log     []string `json:"log"`
	Done    bool     `json:"done"`
}

type step struct {
	Do     string `json:"do"`
	Errno  string `json:"errno"`
	Detail string `json:"detail"`
}

// said is all that a guest said.
type said struct {
	release  string                // of the kernel; empty: it did not come up
	cases    map[int]answerLine    // by number
	problems map[string]answerLine // by check
	done     bool                  // it came to its end
}

const answerPrefix = "hallmark "

// maxAnswers bounds what is read of a guest's answers: a thousand cases take
// less than 1 MB.
const maxAnswers = 8 << 20

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxAnswers))
}

// readAnswers reads what a guest said of n cases. Lines without its beginning
// are somebody else's. A last line that is cut is not read: the machine may
// have been stopped in it.
func readAnswers(text []byte, n int) (said, error) {
	s := said{cases: map[int]answerLine{}, problems: map[string]answerLine{}}
	for l := range bytes.Lines(text) {
		l, whole := bytes.CutSuffix(l, []byte("\n"))
		l, ours := bytes.CutPrefix(bytes.TrimSuffix(l, []byte("\r")), []byte(answerPrefix))
		if !whole || !ours {
			continue
		}
		var a answerLine
		if err := json.Unmarshal(l, &a); err != nil {
			return said{}, fmt.Errorf("the guest's line %.80q is not understood: %w", l, err)
		}
		switch {
		case s.done:
			return said{}, fmt.Errorf("the guest speaks after its end: %.80q", l)
		case a.Ready != "":
			s.release = a.Ready
		case a.Case != nil:
			i := *a.Case
			if _, twice := s.cases[i]; twice || i < 0 || i >= n || len(a.Steps) == 0 {
				return said{}, fmt.Errorf("the guest's answer %.80q is to no open question", l)
			}
			s.cases[i] = a
		case a.Problem != "":
			s.problems[a.Check] = a
		case a.Done:
			s.done = true
		default:
			return said{}, fmt.Errorf("the guest's line %.80q says nothing", l)
		}
	}
	if s.done && s.release == "" {
		return said{}, fmt.Errorf("the guest did not tell its kernel's release")
	}
	return s, nil
}

// problem is the verdict where a check could not be set up. A policy that the
// kernel refuses lets nothing pass.
func (a answerLine) problem(judge, check string) error {
	output := strings.Join(a.Log, "\n")
	if check == checkIPE && slices.Contains(refusals(), a.Errno) {
		return &RefusalError{Judge: judge, Reason: short(fmt.Sprintf("the kernel refuses the policy: %s, %s", a.Errno, meaning(a.Errno))), Output: output}
	}
	return &UnclearError{Tool: judge, Reason: short(a.Problem), Output: output}
}

// refusals are the kernel's answers to a signature that is not good: not there
// where one is required, not by a known key, not over this content, of an
// algorithm that this kernel has not (ENOPKG if it does not know its name,
// ENOENT if it was built without), or no signature at all.
func refusals() []string {
	return []string{"EPERM", "EKEYREJECTED", "ENOKEY", "ENOPKG", "ENOENT", "EBADMSG", "EINVAL", "EMSGSIZE", "ENODATA"}
}

// verdict says what the kernel's answers to the steps of a check mean.
func (a answerLine) verdict(judge, check string) error {
	refuse := func(what string, s step) error {
		why := a.cause()
		if why == "" {
			why = meaning(s.Errno)
		}
		if why != "" {
			why = ", " + why
		}
		return &RefusalError{Judge: judge, Reason: short(fmt.Sprintf("%s: %s%s", what, s.Errno, why)), Output: a.output()}
	}
	for _, s := range a.Steps {
		switch {
		case s.Do == "exec" && (check == checkIMA || check == checkIPE) && s.Errno == "EACCES":
			return refuse("the kernel does not start it", s)
		// The kernel would start it, but it is a program for another machine, or
		// wants a library. What is asked comes before that.
		case s.Do == "exec" && strings.HasPrefix(s.Detail, "signal: ") && s.Detail != "signal: killed":
			return &UnclearError{Tool: judge, Reason: short("the kernel starts it, and it dies: " + s.Detail), Output: a.output()}
		case s.Do == "exec" && slices.Contains([]string{"", "ENOEXEC", "ENOENT"}, s.Errno):
			return nil
		case s.Do == "enable" && check == checkIPE:
			// What comes of it is what IPE makes of the file.
		case s.Do == "load" && slices.Contains([]string{"", "ENOEXEC"}, s.Errno):
			return nil // ENOEXEC: it is no module, but the signature is good
		case s.Errno == "":
		case s.Do == "load" && slices.Contains(refusals(), s.Errno):
			return refuse("the module loader refuses it", s)
		case s.Do == "enable" && slices.Contains(refusals(), s.Errno):
			return refuse("enabling fs-verity is refused", s)
		case s.Do == "setxattr" && (s.Errno == "EACCES" || slices.Contains(refusals(), s.Errno)):
			return refuse("the attribute security.ima is refused", s)
		default:
			return &UnclearError{Tool: judge, Reason: short(fmt.Sprintf("%s: %s %s", s.Do, s.Errno, s.Detail)), Output: a.output()}
		}
	}
	return &UnclearError{Tool: judge, Reason: "the guest did not ask all", Output: a.output()}
}

// meaning is what an errno says of a signature.
func meaning(errno string) string {
	switch errno {
	case "EPERM":
		return "a signature is required and there is none"
	case "EKEYREJECTED":
		return "it is not a good signature of this content"
	case "ENOKEY":
		return "its signer is not known"
	case "ENOPKG", "ENOENT":
		return "this kernel has not its algorithm"
	case "EBADMSG", "EINVAL":
		return "it is malformed"
	}
	return ""
}

// cause is what the kernel has logged as its reason: IMA's and IPE's records
// for the audit, the module loader's sentence.
func (a answerLine) cause() string {
	for _, l := range a.Log {
		for _, m := range []*regexp.Regexp{
			regexp.MustCompile(`op=appraise_data cause="?([\w-]+)`),
			regexp.MustCompile(`ipe_op=EXECUTE .*enforcing=1 .*(rule="[^"]*")`),
			regexp.MustCompile(`(Loading of .* is rejected)`),
		} {
			if found := m.FindStringSubmatch(l); found != nil {
				return found[1]
			}
		}
	}
	return ""
}

// output is the kernel's own words.
func (a answerLine) output() string {
	var lines []string
	for _, s := range a.Steps {
		answer := s.Errno
		if answer == "" {
			answer = "done"
		}
		lines = append(lines, strings.TrimSpace(s.Do+": "+answer+" "+s.Detail))
	}
	return strings.ToValidUTF8(strings.Join(append(lines, a.Log...), "\n"), "\uFFFD")
}
