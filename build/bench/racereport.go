package bench

import (
	"bufio"
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The race detector writes a report for each race that it sees, of any goroutine at any time, but never two at once:
//
//	==================
//	WARNING: DATA RACE
//	Write at 0x00c000012345 by goroutine 8:
//	  example.com/race.plantedCounter.func2()
//	      /src/race.go:75 +0x44
//
//	Previous write at 0x00c000012345 by goroutine 7:
//	  ...
//
//	Goroutine 8 (running) created at:
//	  ...
//	==================
//
// (go.dev/doc/articles/race_detector, "Report Format"). Functions are named with the path of their package, those inlined
// too.

// A raceReport is what is told of one race.
type raceReport struct {
	planted string // name of the first planted race among its functions; "" when there is none
}

// A plantedRaces is the names that testdata/race prints, of the races that it has run.
type plantedRaces struct{ certain, chance []string }

func (p plantedRaces) has(name string) bool {
	return slices.Contains(p.certain, name) || slices.Contains(p.chance, name)
}

var plantedFunction = regexp.MustCompile(`\.(planted[A-Z][A-Za-z0-9]*)[.(]`)

// parseReports reads the reports in the output of a program. One that is cut off counts.
func parseReports(output []byte) []raceReport {
	const ruler = "=================="
	var reports []raceReport
	inside := false
	sc := bufio.NewScanner(bytes.NewReader(output))
	sc.Buffer(nil, maxLine)
	for sc.Scan() {
		line := sc.Text()
		switch {
		// What the program has written without a newline may stand before it.
		case strings.HasSuffix(line, "WARNING: DATA RACE"):
			reports = append(reports, raceReport{})
			inside = true
		case strings.HasSuffix(line, ruler):
			inside = false
		case inside:
			r := &reports[len(reports)-1]
			if m := plantedFunction.FindStringSubmatch(line); m != nil && r.planted == "" {
				r.planted = m[1]
			}
		}
	}
	return reports
}

// maxLine bounds a line of a program's output, in bytes; what follows a longer one is not read.
const maxLine = 1 << 20

// parsePlanted reads the lines "planted certain NAME" and "planted chance NAME" in the output of a program, each name
// once.
func parsePlanted(output []byte) plantedRaces {
	var p plantedRaces
	sc := bufio.NewScanner(bytes.NewReader(output))
	sc.Buffer(nil, maxLine)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) != 3 || f[0] != "planted" || p.has(f[2]) {
			continue
		}
		switch f[1] {
		case "certain":
			p.certain = append(p.certain, f[2])
		case "chance":
			p.chance = append(p.chance, f[2])
		}
	}
	return p
}

// parsePeak reads the line "peak-B N" in the output of a program, 0 when there is none.
func parsePeak(output []byte) int64 {
	for line := range bytes.Lines(output) {
		if f := strings.Fields(string(line)); len(f) == 2 && f[0] == UnitPeak {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}
