package bench

import "fmt"

// vocabulary is a made-up one of SentencePiece's kind, so that both tokenizers
// open the file and any text can be encoded.
type vocabulary struct {
	tokens []string
	scores []float32
	types  []int32
}

// The types of tokens in a GGUF file.
const (
	normalToken  = 1
	unknownToken = 2
	controlToken = 3
	byteToken    = 6
)

// vocabulary makes the shape's: three control tokens, the 256 bytes, the mark of a
// blank, the printable characters of ASCII, and then pieces of small letters, the
// short ones first, each with and without the mark. Every piece is the one before
// its last letter and that letter, so merges reach all of them.
func (h Shape) vocabulary() vocabulary {
	var v vocabulary
	add := func(text string, kind int32) {
		if len(v.tokens) == h.Vocab {
			return
		}
		score := float32(0)
		if kind == normalToken {
			score = -float32(len(v.tokens))
		}
		v.tokens, v.scores, v.types = append(v.tokens, text), append(v.scores, score), append(v.types, kind)
	}
	add("<unk>", unknownToken)
	add("<s>", controlToken)
	add("</s>", controlToken)
	for b := range 256 {
		add(fmt.Sprintf("<0x%02X>", b), byteToken)
	}
	const mark = "▁"
	add(mark, normalToken)
	for c := '!'; c <= '~'; c++ {
		add(string(c), normalToken)
	}
	pieces := []string{""}
	for len(v.tokens) < h.Vocab {
		var longer []string
		for _, p := range pieces {
			for c := 'a'; c <= 'z'; c++ {
				longer = append(longer, p+string(c))
			}
		}
		pieces = longer
		for _, p := range pieces {
			if len(p) > 1 { // a letter alone is there already
				add(p, normalToken)
			}
			add(mark+p, normalToken)
		}
	}
	return v
}
