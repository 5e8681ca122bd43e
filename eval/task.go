package eval

import (
	"errors"
	"fmt"
	"sync"
)

// Sample is one question.
type Sample struct {
	Task   string
	Length int // tokens that prompt and answer may take together
	Index  int

	Prompt    string
	Prefix    string // how the answer begins: the prompt's end, or the beginning of a chat's answer
	Answers   []string
	MaxTokens int
	Stop      []string // that end the answer

	Depth   float64  // where in the text what is asked for lies, 0 to 1; -1: nowhere in particular
	Group   []string // parts of the task that the sample counts for as well
	classes []string // of a classification
	first   bool     // the first line of the answer counts alone
	plain   bool     // asked without a chat's template even in a chat
}

// Task makes questions and scores answers. It is safe for use by several goroutines.
type Task interface {
	Name() string
	// Most is how many samples there are; 0: as many as one likes.
	Most() int
	// Sample makes the one of that number; the same each time.
	Sample(length, index int) (*Sample, error)
	// Score is that of an answer, from 0 to 1.
	Score(s *Sample, answer string) float64
}

// Material is what tasks are made of.
type Material struct {
	Seed  uint64
	Count func(text string) int // tokens of a text, as the model counts them
	// Middle leaves out the middle of a text that has more tokens than most.
	Middle func(text string, most int) string
	Book   string // running text
	Depths int    // of the NIAH grid; 0: 10

	Squad, Hotpot string // files
	LongBench     string // a folder
}

// ErrTask is returned for tasks that are unknown or lack what they are made of.
var ErrTask = errors.New("this can not be asked")

// sized is a task whose text grows with a number, of words, lines or documents, until it has the tokens that are asked for.
type sized struct {
	name      string
	m         *Material
	maxTokens int
	most      int
	// step says by how much the size is cut back where a sample has become longer than the one that the size was found with.
	step func(length int) int
	// make makes the text, of which prefix is the end; one of size 1 is as short as can be.
	make  func(d Draws, length, size, index int) (made, error)
	score func(answers []string, answer string) float64

	mu    sync.Mutex
	sizes map[int]int // by length
}

// made is a text that has been made.
type made struct {
	text, prefix string
	answers      []string
	depth        float64
}

func (t *sized) Name() string { return t.name }
func (t *sized) Most() int    { return t.most }

func (t *sized) Score(s *Sample, answer string) float64 { return t.score(s.Answers, answer) }

func (t *sized) Sample(length, index int) (*Sample, error) {
	size, err := t.fit(length)
	if err != nil {
		return nil, err
	}
	for {
		m, tokens, err := t.try(length, size, index)
		if err != nil {
			return nil, err
		}
		if tokens <= length {
			return &Sample{Task: t.name, Length: length, Index: index, Prompt: m.text, Prefix: m.prefix, Answers: m.answers, MaxTokens: t.maxTokens, Depth: m.depth}, nil
		}
		if size <= 1 {
			return nil, t.tooShort(length, tokens)
		}
		size = max(size-t.step(length), 1)
	}
}

func (t *sized) tooShort(length, tokens int) error {
	return fmt.Errorf("%s: the shortest takes %d tokens with the answer, the length is %d: ask for longer ones: %w", t.name, tokens, length, ErrTask)
}

// try makes a sample, and counts its tokens with those of the answer.
func (t *sized) try(length, size, index int) (made, int, error) {
	m, err := t.make(newDraws(t.m.Seed, t.name, length, index), length, size, index)
	return m, t.m.Count(m.text+m.prefix) + t.maxTokens, err
}

// fit finds the largest size with which the first sample is not too long, as RULER does for all of a length.
func (t *sized) fit(length int) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if size, ok := t.sizes[length]; ok {
		return size, nil
	}
	low, high := 1, 1
	for ; high < length; high *= 2 { // nothing has more parts than tokens
		_, tokens, err := t.try(length, high, 0)
		if err != nil {
			return 0, err
		}
		if tokens > length {
			break
		}
		low = high
	}
	size := 0
	for low <= high {
		mid := (low + high) / 2
		_, tokens, err := t.try(length, mid, 0)
		if err != nil {
			return 0, err
		}
		if tokens <= length {
			size, low = mid, mid+1
		} else {
			high = mid - 1
		}
	}
	if size == 0 {
		_, tokens, err := t.try(length, 1, 0)
		if err != nil {
			return 0, err
		}
		return 0, t.tooShort(length, tokens)
	}
	if t.sizes == nil {
		t.sizes = map[int]int{}
	}
	t.sizes[length] = size
	return size, nil
}
