package eval

import (
	"fmt"
	"slices"
	"strings"
)

// groups are names for several tasks.
var groups = map[string][]string{
	"ruler":    rulerTasks,
	"infinite": {"passkey", "kv_retrieval"},
}

// TaskNames is every name that tasks and measures can be asked for by.
func TaskNames() []string {
	names := slices.Concat([]string{"niah", "ruler"}, rulerTasks, []string{"infinite", "passkey", "kv_retrieval", "longbench", "longbench_e", longChoice})
	for _, p := range probes {
		names = append(names, p.name)
	}
	return names
}

// names replaces groups by what is in them, and leaves out what is there twice.
func (m *Material) names(asked []string) ([]string, error) {
	var out []string
	for _, name := range asked {
		add := []string{name}
		if of, ok := groups[name]; ok {
			add = of
		} else if name == "longbench" || name == "longbench_e" {
			if m.LongBench == "" {
				return nil, fmt.Errorf("%s is read from files: give --longbench FOLDER: %w", name, ErrTask)
			}
			var err error
			if add, err = longNames(m, name); err != nil {
				return nil, err
			}
		}
		for _, n := range add {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

// newTask makes the task of a name.
func newTask(name string, m *Material) (Task, error) {
	switch _, long := longScores[strings.TrimSuffix(name, "_e")]; {
	case name == "niah":
		return newGrid(m)
	case slices.Contains(rulerTasks, name):
		return newRuler(name, m)
	case name == "passkey":
		return newPasskey(m), nil
	case name == "kv_retrieval":
		return newPairs(m), nil
	case name == longChoice || long:
		return newLongBench(name, m)
	case slices.Contains([]string{"multifieldqa_zh", "dureader", "vcsum"}, name):
		return nil, fmt.Errorf("%s is scored by words of Chinese, which takes a dictionary that is not here: leave it out: %w", name, ErrTask)
	}
	return nil, fmt.Errorf("there is no task %.60q: want %s, or a set of LongBench's: %w", name, strings.Join(TaskNames(), ", "), ErrTask)
}
