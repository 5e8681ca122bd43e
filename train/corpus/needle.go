package corpus

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"strconv"

	"nosa/weights"
)

// NeedleConfig describes documents that ask for something said far before: keys and values ("the number of the quiet harbour
// is 48213") strewn into a text, and at the end questions for some of them, each with its answer. With one key this is the
// passkey test, with many the others distract.
type NeedleConfig struct {
	Vocabulary *Vocabulary
	Filler     *Set // whose text lies between; nil: plain sentences
	Seed       uint64
	HeldOut    bool // keys that training documents never have
	Keys       int  // needles of a document; 0: 1
	Questions  int  // at its end, at most as many as keys; 0: 1
	Digits     int  // of a value; 0: 5
	Min, Max   int  // tokens of a document of a lane; 0: 256, and the whole sequence
	AnswerOnly bool // targets are -1 but where an answer is due
}

// Needles makes such documents, each of its number alone. It is safe for use by several goroutines.
type Needles struct {
	c         NeedleConfig
	sentences [][]int32 // without a filler
	text      uint64    // tokens of the filler
}

// NeedleDocument is one of them.
type NeedleDocument struct {
	Tokens, Targets []int32
	Answers         []NeedleAnswer // in the order of the questions
}

// NeedleAnswer is what a document asks for.
type NeedleAnswer struct {
	Key    string
	Value  string
	Tokens []int32 // of the value, as it stands behind the question
	Row    int     // of the first of them: the row before predicts it
	Needle int     // row at which the needle begins
}

const (
	maxNeedles = 1 << 10
	heldEvery  = 8 // one key in so many is kept for held-out documents
)

// NewNeedles checks a config.
func NewNeedles(c NeedleConfig) (*Needles, error) {
	orElse := func(v *int, value int) {
		if *v == 0 {
			*v = value
		}
	}
	orElse(&c.Keys, 1)
	orElse(&c.Questions, 1)
	orElse(&c.Digits, 5)
	orElse(&c.Min, 256)
	switch held := len(needleAdjectives) * len(needleNouns) / heldEvery; {
	case c.Vocabulary == nil:
		return nil, fmt.Errorf("needles without a vocabulary: %w", ErrConfig)
	case c.Keys < 1 || c.Keys > min(maxNeedles, held):
		return nil, fmt.Errorf("%d needles in a document, want 1 to %d: %w", c.Keys, min(maxNeedles, held), ErrConfig)
	case c.Questions < 1 || c.Questions > c.Keys:
		return nil, fmt.Errorf("%d questions for %d needles: %w", c.Questions, c.Keys, ErrConfig)
	case c.Digits < 1 || c.Digits > 18:
		return nil, fmt.Errorf("values of %d digits, want 1 to 18: %w", c.Digits, ErrConfig)
	case c.Min < 1 || c.Max != 0 && c.Max < c.Min:
		return nil, fmt.Errorf("documents of %d to %d tokens: %w", c.Min, c.Max, ErrConfig)
	}
	n := &Needles{c: c}
	if c.Filler != nil {
		if c.Filler.Vocabulary() != c.Vocabulary.Size() || c.Filler.about.Digest != hexDigest(c.Vocabulary.Digest()) {
			return nil, fmt.Errorf("%s: the text between needles: %w", c.Filler.Dir(), ErrVocabulary)
		}
		n.text = c.Filler.Tokens()
		return n, nil
	}
	for _, s := range needleFiller {
		n.sentences = append(n.sentences, c.Vocabulary.text(nil, s+" "))
	}
	return n, nil
}

// digest stands for everything that documents depend on.
func (n *Needles) digest() string {
	c := n.c
	filler := ""
	if c.Filler != nil {
		filler = hexDigest(c.Filler.Digest())
	}
	b, err := json.Marshal([]any{1, hexDigest(c.Vocabulary.Digest()), filler, c.Seed, c.HeldOut, c.Keys, c.Questions, c.Digits, c.Min, c.Max, c.AnswerOnly})
	if err != nil {
		panic(err) // numbers and strings
	}
	return hexDigest(sha256.Sum256(b))
}

// Document makes document i with exactly length tokens, at least 1. Where they are too few for all needles it has fewer, and
// where they are too few for one it is text without a question.
func (n *Needles) Document(i uint64, length int) (*NeedleDocument, error) {
	if length < 1 {
		return nil, fmt.Errorf("a document of %d tokens: %w", length, ErrConfig)
	}
	var d *NeedleDocument
	err := weights.Guard(func() (err error) {
		d, err = n.document(random(derive(n.c.Seed, i, uint64(length))), length)
		return err
	})
	return d, err
}

// needle is one key with its value.
type needle struct {
	key, value string
	ids        []int32 // of the sentence that tells it
	asked      bool
}

func (n *Needles) document(r random, length int) (*NeedleDocument, error) {
	v := n.c.Vocabulary
	needles := n.draw(&r)
	var around, room int
	for _, id := range []int32{v.Begin, v.End} {
		if id >= 0 {
			around++
		}
	}
	type question struct{ ask, answer, stop []int32 }
	var asks []question
	for {
		asks = asks[:0]
		room = length - around
		for i := range needles {
			room -= len(needles[i].ids)
			if needles[i].asked {
				q := question{v.text(nil, "\nWhat is the number of "+needles[i].key+"? The number of "+needles[i].key+" is"),
					v.text(nil, " "+needles[i].value), v.text(nil, ".")}
				room -= len(q.ask) + len(q.answer) + len(q.stop)
				asks = append(asks, q)
			}
		}
		if room >= 0 || len(needles) == 0 {
			break
		}
		needles = needles[:len(needles)-1] // those that are asked for come first, and go last
	}
	filler, err := n.filler(&r, max(room, 0))
	if err != nil {
		return nil, err
	}
	places := make([]int, len(needles)) // before which token of the filler
	for i := range places {
		places[i] = r.below(len(filler) + 1)
	}
	slices.Sort(places)
	order := r.shuffled(len(needles))
	d := &NeedleDocument{Tokens: make([]int32, 0, length)}
	due := make([]bool, length) // rows with an answer's tokens
	if v.Begin >= 0 && len(d.Tokens) < length {
		d.Tokens = append(d.Tokens, v.Begin)
	}
	at := make([]int, len(needles))
	from := 0
	for i, to := range places {
		d.Tokens = append(d.Tokens, filler[from:to]...)
		from = to
		at[order[i]] = len(d.Tokens)
		d.Tokens = append(d.Tokens, needles[order[i]].ids...)
	}
	d.Tokens = append(d.Tokens, filler[from:]...)
	for i, q := range asks {
		d.Tokens = append(d.Tokens, q.ask...)
		d.Answers = append(d.Answers, NeedleAnswer{needles[i].key, needles[i].value, q.answer, len(d.Tokens), at[i]})
		begin := len(d.Tokens)
		d.Tokens = append(append(d.Tokens, q.answer...), q.stop...)
		for k := begin; k < len(d.Tokens); k++ {
			due[k] = true
		}
	}
	if v.End >= 0 && len(d.Tokens) < length {
		d.Tokens = append(d.Tokens, v.End)
	}
	d.Targets = make([]int32, length)
	for k := range d.Targets {
		d.Targets[k] = -1
		if k+1 < length && (due[k+1] || !n.c.AnswerOnly) {
			d.Targets[k] = d.Tokens[k+1]
		}
	}
	return d, nil
}

// draw makes the needles of a document: those that are asked for first. No two have the same key or value.
func (n *Needles) draw(r *random) []needle {
	needles := make([]needle, 0, n.c.Keys)
	keys, values := map[string]bool{}, map[string]bool{}
	low := uint64(1)
	for range n.c.Digits - 1 {
		low *= 10
	}
	for len(needles) < n.c.Keys {
		a, b := r.below(len(needleAdjectives)), r.below(len(needleNouns))
		key := "the " + needleAdjectives[a] + " " + needleNouns[b]
		if held := mix(uint64(a)<<32|uint64(b))%heldEvery == 0; held != n.c.HeldOut || keys[key] {
			continue
		}
		hi, _ := bits.Mul64(r.next(), 9*low)
		value := strconv.FormatUint(low+hi, 10)
		if values[value] && uint64(len(values)) < 9*low {
			continue
		}
		keys[key], values[value] = true, true
		ids := n.c.Vocabulary.text(nil, "\nThe number of "+key+" is "+value+".\n")
		needles = append(needles, needle{key, value, ids, len(needles) < n.c.Questions})
	}
	return needles
}

// filler returns so many tokens of text: runs from places of the set that chance names, or sentences.
func (n *Needles) filler(r *random, count int) ([]int32, error) {
	out := make([]int32, 0, count)
	for len(out) < count {
		if n.c.Filler == nil {
			s := n.sentences[r.below(len(n.sentences))]
			out = append(out, s[:min(len(s), count-len(out))]...)
			continue
		}
		hi, _ := bits.Mul64(r.next(), n.text)
		sh, begin, end := n.c.Filler.tokenAt(hi)
		if n.c.Vocabulary.Begin >= 0 && end-begin > 1 {
			begin++
		}
		if n.c.Vocabulary.End >= 0 && end-begin > 1 {
			end--
		}
		// The run begins by chance, where the document still has as much as is wanted.
		last := begin
		if want := uint64(count - len(out)); end-begin > want {
			last = end - want
		}
		hi, _ = bits.Mul64(r.next(), last-begin+1)
		begin += hi
		have := len(out)
		out = out[:have+int(min(end-begin, uint64(count-have)))]
		if err := sh.read(out[have:], begin); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// tokenAt returns the shard that has token t of a set, and where the token's document begins and ends in it.
func (s *Set) tokenAt(t uint64) (sh *shard, begin, end uint64) {
	for _, sh = range s.shards {
		if t < sh.tokens {
			break
		}
		t -= sh.tokens
	}
	lo, hi := uint64(0), sh.documents-1
	for lo < hi {
		if mid := (lo + hi) / 2; sh.end(mid) > t {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	begin, end = sh.document(lo)
	return sh, begin, end
}

// shuffled returns 0 … n-1 in an order by chance.
func (r *random) shuffled(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := r.below(i + 1)
		order[i], order[j] = order[j], order[i]
	}
	return order
}
