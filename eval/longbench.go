package eval

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LongBench's sets are read from a folder as its authors publish them: data/NAME.jsonl (or NAME.jsonl), of LongBench-E
// data/NAME_e.jsonl, of v2 data.json; and, of their repository, config/dataset2prompt.json, config/dataset2maxlen.json and
// prompts/0shot.txt, which may also lie in the folder itself.

// longScores are the scores by set. The three sets whose score needs a dictionary of Chinese words are not here.
var longScores = map[string]func(answer, text string, s *Sample) float64{
	"narrativeqa": free, "qasper": free, "multifieldqa_en": free, "hotpotqa": free, "2wikimqa": free, "musique": free, "triviaqa": free,
	"gov_report": summary, "qmsum": summary, "multi_news": summary, "samsum": summary,
	"trec":                 func(answer, text string, s *Sample) float64 { return className(answer, text, s.classes) },
	"lsht":                 func(answer, text string, s *Sample) float64 { return className(answer, text, s.classes) },
	"passage_count":        func(answer, text string, _ *Sample) float64 { return numberShare(answer, text) },
	"passage_retrieval_en": func(answer, text string, _ *Sample) float64 { return paragraphShare(answer, text) },
	"passage_retrieval_zh": func(answer, text string, _ *Sample) float64 { return paragraphShare(answer, text) },
	"lcc":                  func(answer, text string, _ *Sample) float64 { return codeSimilarity(answer, text) },
	"repobench-p":          func(answer, text string, _ *Sample) float64 { return codeSimilarity(answer, text) },
}

func free(answer, text string, _ *Sample) float64    { return qaF1(answer, text) }
func summary(answer, text string, _ *Sample) float64 { return rougeL(answer, text) }

var (
	longFirst = []string{"trec", "triviaqa", "samsum", "lsht"}       // of whose answers the first line counts
	longPlain = append([]string{"lcc", "repobench-p"}, longFirst...) // asked as a text to go on with, also of a chat's model
)

const (
	longSetBytes    = 1 << 30
	longConfigBytes = 1 << 20
	longChoice      = "longbench_v2"
	longChoiceMax   = 128
)

// longItem is a line of a set.
type longItem struct {
	Input   string
	Context string
	Answers []string
	Length  int      // words
	Classes []string `json:"all_classes"`

	// Of v2, where length is short, medium or long.
	Question, Answer, Difficulty string
	A                            string `json:"choice_A"`
	B                            string `json:"choice_B"`
	C                            string `json:"choice_C"`
	D                            string `json:"choice_D"`
	size                         string
}

// UnmarshalJSON takes the length as words or as a word.
func (i *longItem) UnmarshalJSON(data []byte) error {
	type plain longItem
	var with struct {
		plain
		Length json.RawMessage
	}
	if err := json.Unmarshal(data, &with); err != nil {
		return err
	}
	*i = longItem(with.plain)
	switch {
	case len(with.Length) == 0:
		return nil
	case with.Length[0] == '"':
		return json.Unmarshal(with.Length, &i.size)
	}
	return json.Unmarshal(with.Length, &i.Length)
}

// longBench is one of the sets.
type longBench struct {
	name      string // with _e of LongBench-E
	set       string
	m         *Material
	prompt    string
	maxTokens int
	items     []longItem
}

// longNames are the names of the sets of a kind: longbench, longbench_e or longbench_v2.
func longNames(m *Material, kind string) (names []string, err error) {
	if kind == longChoice {
		return []string{longChoice}, nil
	}
	suffix := ""
	if kind == "longbench_e" {
		suffix = "_e"
	}
	for _, set := range slices.Sorted(maps.Keys(longScores)) {
		if _, err := found(m.LongBench, "data/"+set+suffix+".jsonl", set+suffix+".jsonl"); err == nil {
			names = append(names, set+suffix)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: has no set of %s, such as data/hotpotqa%s.jsonl: %w", m.LongBench, kind, suffix, ErrTask)
	}
	return names, nil
}

// newLongBench reads a set.
func newLongBench(name string, m *Material) (Task, error) {
	if m.LongBench == "" {
		return nil, fmt.Errorf("%s is read from LongBench's files: give --longbench FOLDER: %w", name, ErrTask)
	}
	t := &longBench{name: name, set: strings.TrimSuffix(name, "_e"), m: m, maxTokens: longChoiceMax}
	var path string
	var err error
	if name == longChoice {
		if path, err = found(m.LongBench, "data.json", "data/data.json", "data/longbench_v2.jsonl"); err != nil {
			return nil, err
		}
		err = t.readChoicePrompt()
	} else {
		if path, err = found(m.LongBench, "data/"+name+".jsonl", name+".jsonl"); err != nil {
			return nil, err
		}
		err = t.readConfig()
	}
	if err != nil {
		return nil, err
	}
	err = readObjectFile(path, longSetBytes, func(i longItem) error {
		if name == longChoice {
			i.Answers = []string{i.Answer}
		}
		if len(i.Answers) == 0 || i.Answers[0] == "" && name == longChoice {
			return fmt.Errorf("it has no answer: %w", ErrFile)
		}
		t.items = append(t.items, i)
		return nil
	})
	if err == nil && len(t.items) == 0 {
		err = fmt.Errorf("%s: there is no sample in it: %w", path, ErrFile)
	}
	return t, err
}

func (t *longBench) readChoicePrompt() error {
	path, err := found(t.m.LongBench, "prompts/0shot.txt", "0shot.txt")
	if err != nil {
		return err
	}
	data, err := readBounded(path, longConfigBytes)
	t.prompt = string(data)
	if err == nil && !strings.Contains(t.prompt, "$DOC$") {
		err = fmt.Errorf("%s: has no $DOC$: %w", path, ErrFile)
	}
	return err
}

func (t *longBench) readConfig() error {
	prompts, lengths := map[string]string{}, map[string]int{}
	for file, into := range map[string]any{"dataset2prompt.json": &prompts, "dataset2maxlen.json": &lengths} {
		path, err := found(t.m.LongBench, "config/"+file, file)
		if err != nil {
			return err
		}
		data, err := readBounded(path, longConfigBytes)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, into); err != nil {
			return fmt.Errorf("%s: %w: %w", path, ErrFile, err)
		}
	}
	t.prompt, t.maxTokens = prompts[t.set], lengths[t.set]
	if !strings.Contains(t.prompt, "{context}") || t.maxTokens < 1 || t.maxTokens > 1<<16 {
		return fmt.Errorf("%s: dataset2prompt.json and dataset2maxlen.json have no prompt with {context} and no length of an answer for %s: %w", t.m.LongBench, t.set, ErrFile)
	}
	return nil
}

func (t *longBench) Name() string { return t.name }
func (t *longBench) Most() int    { return len(t.items) }

// Sample fills in the prompt. One that is too long loses its middle.
func (t *longBench) Sample(length, index int) (*Sample, error) {
	if index >= len(t.items) {
		return nil, fmt.Errorf("%s has %d samples: %w", t.name, len(t.items), ErrTask)
	}
	if length <= t.maxTokens {
		return nil, fmt.Errorf("%s: an answer takes %d tokens, the length is %d: ask for longer ones: %w", t.name, t.maxTokens, length, ErrTask)
	}
	i := &t.items[index]
	s := &Sample{Task: t.name, Length: length, Index: index, Answers: i.Answers, MaxTokens: t.maxTokens, Depth: -1, classes: i.Classes,
		first: slices.Contains(longFirst, t.set), plain: slices.Contains(longPlain, t.set)}
	var fill *strings.Replacer
	if t.name == longChoice {
		fill = strings.NewReplacer("$DOC$", trim(i.Context), "$Q$", trim(i.Question), "$C_A$", trim(i.A), "$C_B$", trim(i.B), "$C_C$", trim(i.C), "$C_D$", trim(i.D))
		s.Group = []string{i.Difficulty, i.size}
	} else {
		fill = strings.NewReplacer("{context}", i.Context, "{input}", i.Input)
	}
	if t.set == "samsum" {
		s.Stop = []string{"\n"} // else a model writes the next dialogue
	}
	if t.name != t.set {
		s.Group = []string{longBucket(i.Length)}
	}
	s.Prompt = t.m.Middle(fill.Replace(t.prompt), length-t.maxTokens)
	return s, nil
}

func trim(s string) string { return strings.TrimFunc(s, pythonSpace) }

// longBucket is LongBench-E's by the words of the context.
func longBucket(words int) string {
	switch {
	case words < 4000:
		return "0-4k"
	case words < 8000:
		return "4-8k"
	}
	return "8k+"
}

// Score is the best over the answers.
func (t *longBench) Score(s *Sample, text string) float64 {
	if t.name == longChoice {
		return truth(choice(text) == s.Answers[0])
	}
	if s.first {
		text, _, _ = strings.Cut(strings.TrimLeft(text, "\n"), "\n")
	}
	best := 0.0
	for _, a := range s.Answers {
		best = max(best, longScores[t.set](a, text, s))
	}
	return best
}
