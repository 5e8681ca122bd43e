package eval

import (
	"fmt"
	"strings"
)

// rulerNeedles are the eight of RULER's that look for needles.
var rulerNeedles = map[string]niah{
	"niah_single_1":   {"noise", "words", "numbers", 1, 1, 1},
	"niah_single_2":   {"essay", "words", "numbers", 1, 1, 1},
	"niah_single_3":   {"essay", "words", "uuids", 1, 1, 1},
	"niah_multikey_1": {"essay", "words", "numbers", 4, 1, 1},
	"niah_multikey_2": {"needle", "words", "numbers", 1, 1, 1},
	"niah_multikey_3": {"needle", "uuids", "uuids", 1, 1, 1},
	"niah_multivalue": {"essay", "words", "numbers", 1, 4, 1},
	"niah_multiquery": {"essay", "words", "numbers", 4, 1, 4},
}

// rulerTasks are RULER's thirteen, in the order of its tables.
var rulerTasks = []string{
	"niah_single_1", "niah_single_2", "niah_single_3", "niah_multikey_1", "niah_multikey_2", "niah_multikey_3",
	"niah_multivalue", "niah_multiquery", "vt", "cwe", "fwe", "qa_1", "qa_2",
}

// newRuler makes one of them.
func newRuler(name string, m *Material) (Task, error) {
	t := &sized{name: name, m: m, score: matchAll, step: steps(5, 25)}
	if n, ok := rulerNeedles[name]; ok {
		prose, err := m.prose(name, n.haystack == "essay")
		if err != nil {
			return nil, err
		}
		if n.haystack == "essay" {
			t.step = steps(50, 500)
		}
		words := ownLexicon()
		t.maxTokens = niahTokens
		t.make = func(d Draws, _, size, _ int) (made, error) { return n.text(d, words, prose, size), nil }
		return t, nil
	}
	switch name {
	case "vt":
		shot := vtShotSize(m.Count)
		t.maxTokens, t.step = vtTokens, steps(5, 10)
		t.make = func(d Draws, _, size, _ int) (made, error) { return vartrackSample(d, size, shot), nil }
	case "cwe":
		words, more := ownWords()
		t.maxTokens, t.step = cweTokens, steps(5, 10)
		t.make = func(d Draws, length, size, _ int) (made, error) { return commonWords(d, words, more, length, size) }
	case "fwe":
		t.maxTokens, t.step = fweTokens, func(length int) int { return max((length-fweTokens)/32, 1) }
		t.make = func(d Draws, length, size, _ int) (made, error) {
			return frequentWords(d, size, (length-fweTokens)/50), nil
		}
	case "qa_1", "qa_2":
		file, parse, flag := m.Squad, parseSquad, "--squad"
		if name == "qa_2" {
			file, parse, flag = m.Hotpot, parseHotpot, "--hotpotqa"
		}
		if file == "" {
			return nil, fmt.Errorf("%s asks about documents of a file: give %s FILE, or leave it out: %w", name, flag, ErrTask)
		}
		data, err := readBounded(file, mostQA)
		if err != nil {
			return nil, err
		}
		set, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", flag, file, err)
		}
		t.maxTokens, t.step, t.most, t.score = qaTokens, steps(1, 10), len(set.questions), matchBest
		t.make = func(d Draws, _, size, index int) (made, error) { return set.text(d, index, size), nil }
	}
	return t, nil
}

// mostQA bounds a file of questions: HotpotQA's has 46 MB.
const mostQA = 1 << 28

// steps is small for short texts, as RULER has it.
func steps(small, large int) func(length int) int {
	return func(length int) int {
		if length < shortLength {
			return small
		}
		return large
	}
}

// prose is the running text by words, where it is needed.
func (m *Material) prose(task string, needed bool) ([]string, error) {
	if !needed {
		return nil, nil
	}
	words := strings.Fields(m.Book)
	if len(words) < leastProse {
		return nil, fmt.Errorf("%s hides needles in running text, of which there are %d words: give --book FILE with at least %d: %w", task, len(words), leastProse, ErrTask)
	}
	return words, nil
}

const leastProse = 1000
