package build

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/semver"
)

// maxVersion bounds a version: the names of files hold it.
const maxVersion = 128

// CheckVersion reports why a text cannot be the version of a release. It is 1.2.3, or what `git describe` makes of
// it: letters, digits, '.', '-', '+', '_' and '~', beginning with a digit, ending with a letter or digit. What else
// a tag may hold would be a path, an option, a command or an escape sequence for somebody.
func CheckVersion(v string) error {
	if len(v) > maxVersion {
		return fmt.Errorf("a version of %d characters; at most %d are possible", len(v), maxVersion)
	}
	if !regexp.MustCompile(`^[0-9]([A-Za-z0-9._+~-]*[A-Za-z0-9])?$`).MatchString(v) || strings.Contains(v, "..") {
		return fmt.Errorf("%q is not a version: write it like 1.2.3 or 1.2.3-rc.1", v)
	}
	return nil
}

// tagVersion returns the version that a tag names: v1.2.3 or 1.2.3 after the module's prefix, by the rules of
// semantic versions (semver.org), with all three numbers. A tag that is moved from release to release, such as v1,
// names none.
func tagVersion(tag, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(tag, prefix)
	v := strings.TrimPrefix(rest, "v")
	if !ok || !regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+([-+]|$)`).MatchString(v) || !semver.IsValid("v"+v) || CheckVersion(v) != nil {
		return "", false
	}
	return v, true
}

// highestTag returns the highest version that one of the tags names, whether annotated or not. The tag of the CI job,
// if it is one of them, wins: somebody started the job for it.
func highestTag(tags []string, prefix, job string) (string, bool) {
	if v, ok := tagVersion(job, prefix); ok && slices.Contains(tags, job) {
		return v, true
	}
	best, found := "", false
	for _, tag := range tags {
		v, ok := tagVersion(tag, prefix)
		if ok && (!found || semver.Compare("v"+v, "v"+best) > 0) {
			best, found = v, true
		}
	}
	return best, found
}

// jobTag returns the tag that a CI job runs for: of GitHub and Gitea, or of GitLab.
func jobTag(getenv func(string) string) string {
	if getenv("GITHUB_REF_TYPE") == "tag" {
		return getenv("GITHUB_REF_NAME")
	}
	return getenv("CI_COMMIT_TAG")
}

// maxTags bounds how many tags that are not versions are passed over.
const maxTags = 32

// describe returns the version of HEAD, by the tags on it, else by those on the nearest commit before it that has
// some: 1.2.3-4-gabc is four commits after 1.2.3. It is empty if no tag names a version.
func describe(ctx context.Context, dir, prefix string, patterns []string, job string) (string, error) {
	here, err := tagsAt(ctx, dir, "HEAD")
	if err != nil {
		return "", err
	}
	if v, ok := highestTag(here, prefix, job); ok {
		return v, nil
	}
	args := []string{"describe", "--tags", "--long", "--abbrev=" + strconv.Itoa(abbrevCommit)}
	for _, p := range patterns {
		args = append(args, "--match", p)
	}
	for range maxTags {
		words, err := git(ctx, dir, append(slices.Clone(args), "HEAD")...)
		if err != nil {
			return "", nil // there is no such tag
		}
		m := regexp.MustCompile(`^(.+)-([0-9]+)-(g[0-9a-f]+)$`).FindStringSubmatch(strings.TrimSpace(words))
		if m == nil {
			return "", nil
		}
		there, err := tagsAt(ctx, dir, "refs/tags/"+m[1]+"^{commit}")
		if err != nil {
			return "", err
		}
		if v, ok := highestTag(there, prefix, ""); ok {
			return v + "-" + m[2] + "-" + m[3], nil
		}
		args = append(args, "--exclude", globEscape(m[1]))
	}
	return "", nil
}

// tagsAt lists the tags on a commit.
func tagsAt(ctx context.Context, dir, commit string) ([]string, error) {
	out, err := git(ctx, dir, "tag", "--points-at", commit)
	return strings.Fields(out), err // a tag has no blank in it (git-check-ref-format)
}

// globEscape makes a pattern of git's that means one name.
func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}
