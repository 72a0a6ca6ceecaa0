package release

import (
	"context"
	"io"

	"github.com/hallmark-build/hallmark/build/bench"
)

// BenchCompare sets two result files of benchmarks side by side, on out and, if html is not empty, in a page of that name.
func BenchCompare(_ context.Context, out io.Writer, fileA, fileB, html string) error {
	a, err := bench.Read(fileA)
	if err != nil {
		return err
	}
	b, err := bench.Read(fileB)
	if err != nil {
		return err
	}
	p, err := bench.Pair(fileA, a, fileB, b)
	if err != nil {
		return err
	}
	if html != "" {
		page, err := p.HTML()
		if err != nil {
			return err
		}
		if err := bench.WriteFile(html, page); err != nil {
			return err
		}
	}
	return p.Text(out)
}

// BenchPage draws the page of a result file that is there.
func BenchPage(_ context.Context, file, html string) error {
	r, err := bench.Read(file)
	if err != nil {
		return err
	}
	page, err := r.HTML()
	if err != nil {
		return err
	}
	return bench.WriteFile(html, page)
}
