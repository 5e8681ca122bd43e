package eval

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Questions over documents of RULER's: those of a local file of SQuAD's or HotpotQA's, among other documents of the same file.
const (
	qaTemplate = "Answer the question based on the given documents. Only give me the answer and do not output any other words.\n\n" +
		"The following are given documents.\n\n{context}\n\n" +
		"Answer the question based on the given documents. Only give me the answer and do not output any other words.\n\nQuestion: {query}"
	qaPrefix = " Answer:"
	qaTokens = 32
)

// qaSet are the questions of a file and the documents of all of them, sorted.
type qaSet struct {
	documents []string
	questions []qaQuestion
}

type qaQuestion struct {
	text    string
	answers []string
	needed  []int // documents that answer it
	near    []int // others of the same article, which come next
}

// parseSquad reads what SQuAD's files of version 1 and 2 have; questions that have no answer are left out.
func parseSquad(data []byte) (*qaSet, error) {
	var file struct {
		Data []struct {
			Paragraphs []struct {
				Context string
				QAs     []struct {
					Question   string
					Impossible bool `json:"is_impossible"`
					Answers    []struct{ Text string }
				}
			}
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("no file of SQuAD's: %w", err)
	}
	b := newDocuments()
	for _, article := range file.Data {
		for _, p := range article.Paragraphs {
			b.add(p.Context)
		}
	}
	b.number()
	set := &qaSet{documents: b.sorted}
	for _, article := range file.Data {
		var all []int
		for _, p := range article.Paragraphs {
			all = append(all, b.numbers[p.Context])
		}
		for _, p := range article.Paragraphs {
			own := b.numbers[p.Context]
			near := slices.DeleteFunc(slices.Clone(all), func(n int) bool { return n == own })
			for _, qa := range p.QAs {
				if qa.Impossible || len(qa.Answers) == 0 {
					continue
				}
				q := qaQuestion{text: qa.Question, needed: []int{own}, near: near}
				for _, a := range qa.Answers {
					q.answers = append(q.answers, a.Text)
				}
				set.questions = append(set.questions, q)
			}
		}
	}
	return set.checked()
}

// parseHotpot reads what HotpotQA's files have. A context is a list of [title, sentences].
func parseHotpot(data []byte) (*qaSet, error) {
	var file []struct {
		Question, Answer string
		Context          [][2]json.RawMessage
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("no file of HotpotQA's: %w", err)
	}
	b := newDocuments()
	texts := make([][]string, len(file))
	for i, q := range file {
		for _, pair := range q.Context {
			var title string
			var sentences []string
			if err := json.Unmarshal(pair[0], &title); err != nil {
				return nil, fmt.Errorf("no file of HotpotQA's: question %d: a title: %w", i, err)
			}
			if err := json.Unmarshal(pair[1], &sentences); err != nil {
				return nil, fmt.Errorf("no file of HotpotQA's: question %d: sentences: %w", i, err)
			}
			text := title + "\n" + strings.Join(sentences, "")
			texts[i] = append(texts[i], text)
			b.add(text)
		}
	}
	b.number()
	set := &qaSet{documents: b.sorted}
	for i, q := range file {
		question := qaQuestion{text: q.Question, answers: []string{q.Answer}}
		for _, text := range texts[i] {
			question.needed = append(question.needed, b.numbers[text])
		}
		set.questions = append(set.questions, question)
	}
	return set.checked()
}

// checked refuses a file without questions, or with such as nothing answers.
func (s *qaSet) checked() (*qaSet, error) {
	if len(s.questions) == 0 {
		return nil, fmt.Errorf("there is no question in it: %w", ErrTask)
	}
	for i, q := range s.questions {
		if len(q.needed) == 0 {
			return nil, fmt.Errorf("question %d has no documents: %w", i, ErrTask)
		}
	}
	return s, nil
}

// documents numbers texts in their order as bytes, each once.
type documents struct {
	numbers map[string]int
	sorted  []string
}

func newDocuments() *documents { return &documents{numbers: map[string]int{}} }

func (b *documents) add(text string) {
	if _, ok := b.numbers[text]; !ok {
		b.numbers[text] = 0
		b.sorted = append(b.sorted, text)
	}
}

func (b *documents) number() {
	slices.Sort(b.sorted)
	for i, text := range b.sorted {
		b.numbers[text] = i
	}
}

// text asks question i with so many documents, of which those that answer it are always there.
func (s *qaSet) text(d Draws, i, size int) made {
	q := s.questions[i%len(s.questions)]
	size = max(size, len(q.needed))
	var chosen []int
	switch more := size - len(q.needed); {
	case size >= len(s.documents):
		for k := range size {
			chosen = append(chosen, k%len(s.documents))
		}
	case more > len(q.near):
		var others []int
		for n := range s.documents {
			if !slices.Contains(q.needed, n) && !slices.Contains(q.near, n) {
				others = append(others, n)
			}
		}
		further := d.Sample(len(others), min(more-len(q.near), len(others)))
		chosen = slices.Concat(q.needed, q.near, picked(others, further))
	default:
		chosen = slices.Concat(q.needed, picked(q.near, d.Sample(len(q.near), more)))
	}
	var b strings.Builder
	for k, p := range d.Shuffle(len(chosen)) {
		if k > 0 {
			b.WriteString("\n\n")
		}
		b.WriteString("Document " + strconv.Itoa(k+1) + ":\n" + s.documents[chosen[p]])
	}
	return made{strings.NewReplacer("{context}", b.String(), "{query}", q.text).Replace(qaTemplate), qaPrefix, q.answers, -1}
}
