package boundaries

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"sync"

	"github.com/hallmark-build/hallmark/build"
	"github.com/hallmark-build/hallmark/signing/compat"
)

// verdict is what is kept of a cell for the next run.
type verdict struct {
	Inputs     string             `json:"inputs"`
	Result     compat.Result      `json:"result"`
	Figures    map[string]float64 `json:"figures,omitempty"`
	Screenshot string             `json:"screenshot,omitempty"`
}

// verdicts are kept in a file of lines, to which each is added when it is known.
type verdicts struct {
	mu    sync.Mutex
	file  *os.File
	known map[string]verdict
}

// openVerdicts reads what an earlier run has heard. A line that was cut short by
// a sudden end is passed over.
func openVerdicts(name string) (*verdicts, error) {
	v := &verdicts{known: map[string]verdict{}}
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var one verdict
		if build.DecodeJSON(lines.Bytes(), &one) == nil && one.Inputs != "" {
			v.known[one.Inputs] = one
		}
	}
	v.file, err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil && len(data) > 0 && data[len(data)-1] != '\n' {
		_, err = v.file.WriteString("\n")
	}
	return v, err
}

func (v *verdicts) get(inputs string) (verdict, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	one, ok := v.known[inputs]
	return one, ok
}

func (v *verdicts) put(inputs string, one verdict) error {
	one.Inputs = inputs
	line, err := json.Marshal(one)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.known[inputs] = one
	_, err = v.file.Write(append(line, '\n'))
	return err
}

func (v *verdicts) close() error { return v.file.Close() }
