package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
)

// Doctor prints what machine this is, Go's settings and where each comes from, and a table of the tools: version,
// where it was found, what lacks without it. The error is a *MissingError when a required tool is missing.
func Doctor(ctx context.Context, out io.Writer) error {
	s := here()
	return s.doctor(ctx, out, toolsFor(s.goarch))
}

func (s system) doctor(ctx context.Context, out io.Writer, tools []Tool) error {
	m, err := s.machine(ctx)
	fmt.Fprintf(out, "machine  %v\n\n", m)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if err != nil {
		fmt.Fprintf(out, "go: %v\n", err)
	} else {
		fmt.Fprintln(w, "GO\tVALUE\tFROM")
		for _, g := range m.Go {
			fmt.Fprintf(w, "%s\t%s\t%s\n", g.Name, orDash(g.Value), g.From)
		}
		w.Flush()
	}
	fmt.Fprintln(out)
	found := s.find(ctx, tools)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	missing := 0
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TOOL\tVERSION\tFOUND\tWITHOUT IT LACKS")
	for _, f := range found {
		where := f.Path
		var me *MissingError
		switch {
		case errors.As(f.Err, &me) && me.Header == "":
			where = "missing"
		case errors.As(f.Err, &me):
			where += ", without /" + me.Header
		case f.Old:
			where += ", old"
		}
		if f.Err != nil {
			missing++
		}
		purpose := f.Purpose
		if f.Required {
			purpose += " (required)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Name, orDash(f.Version), where, purpose)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	if missing > 0 {
		fmt.Fprintf(out, "\n%d of %d tools are missing: mage setup installs them, or prints what to install\n", missing, len(found))
	}
	if err != nil {
		return err
	}
	return required(found)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
