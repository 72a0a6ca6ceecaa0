package release

import (
	"os"
	"testing"
)

// What is started inherits the environment: the password must not be in it.
func TestTerminalTakesPassword(t *testing.T) {
	t.Setenv(EnvPassword, "secret")
	for range 2 { // mage runs several commands in one process
		p, err := Terminal().Password("a file")
		if err != nil || string(p) != "secret" {
			t.Fatalf("%q, %v", p, err)
		}
	}
	if p, ok := os.LookupEnv(EnvPassword); ok {
		t.Errorf("still in the environment: %q", p)
	}
}
