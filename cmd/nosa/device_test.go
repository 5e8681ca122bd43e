package main

import (
	"strings"
	"testing"

	"nosa/compute/cpu"
)

// TestLevel: the environment names the kernels, every level writes a text, and one
// that is not there is refused with those that are.
func TestLevel(t *testing.T) {
	dir := textModel(t)
	args := []string{"run", dir, "-p", "Call me", "--max-tokens", "2", "--ignore-eos"}
	for _, level := range append(cpu.Levels(), "") {
		name := level
		if level == "" {
			name = cpu.Levels()[0]
		}
		r := nosa(t, map[string]string{"NOSA_CPU_LEVEL": level}, args...)
		if r.code != exitDone || !strings.Contains(r.errors, name+" kernels") {
			t.Errorf("level %q: %+v", level, r)
		}
	}
	nosa(t, map[string]string{"NOSA_CPU_LEVEL": "mmx"}, args...).refused(t, exitUsage, "NOSA_CPU_LEVEL", `"mmx"`, strings.Join(cpu.Levels(), ", "))
}
