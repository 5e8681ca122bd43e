package tokenizer

import (
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/unicode/norm"
)

// node is a normaliser, pre-tokeniser, post-processor or decoder of tokenizer.json; which, and which members count, is
// said by Type.
type node struct {
	Type string `json:"type"`

	Normalizers   []node `json:"normalizers"`
	Pretokenizers []node `json:"pretokenizers"`
	Processors    []node `json:"processors"`
	Decoders      []node `json:"decoders"`

	Pattern  *patternNode `json:"pattern"`  // Split, Replace
	Behavior string       `json:"behavior"` // Split, Punctuation
	Invert   bool         `json:"invert"`   // Split
	Content  string       `json:"content"`  // Replace, Strip
	Prepend  string       `json:"prepend"`  // Prepend

	AddPrefixSpace *bool `json:"add_prefix_space"` // ByteLevel, Metaspace
	UseRegex       *bool `json:"use_regex"`        // ByteLevel

	Replacement   string `json:"replacement"`    // Metaspace
	PrependScheme string `json:"prepend_scheme"` // Metaspace
	Split         *bool  `json:"split"`          // Metaspace

	IndividualDigits bool   `json:"individual_digits"` // Digits
	Delimiter        string `json:"delimiter"`         // CharDelimiterSplit
	Length           int    `json:"length"`            // FixedLength
	StripLeft        bool   `json:"strip_left"`        // Strip, the normaliser
	StripRight       bool   `json:"strip_right"`
	Start            int    `json:"start"` // Strip, the decoder
	Stop             int    `json:"stop"`

	Single        []templatePiece          `json:"single"`         // TemplateProcessing
	SpecialTokens map[string]specialTokens `json:"special_tokens"` // TemplateProcessing
	Cls           *namedID                 `json:"cls"`            // RobertaProcessing, BertProcessing
	Sep           *namedID                 `json:"sep"`
}

type patternNode struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

type templatePiece struct {
	Sequence *struct {
		ID string `json:"id"`
	} `json:"Sequence"`
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
}

type specialTokens struct {
	IDs []int32 `json:"ids"`
}

// namedID is a token and its id, written ["</s>", 2].
type namedID struct{ id int32 }

func (n *namedID) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var pair []any
	if err := json.UnmarshalDecode(dec, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("a token and its id expected, found %d values", len(pair))
	}
	id, ok := pair[1].(float64)
	if !ok || id != float64(int32(id)) {
		return fmt.Errorf("the id of a token expected, found %v", pair[1])
	}
	n.id = int32(id)
	return nil
}

// The parts of tokenizer.json besides vocabulary and added tokens are a few hundred bytes; these bounds are far above.
const (
	maxNode  = 128 << 10 // bytes of one part
	maxDepth = 8         // sequences in sequences
	maxNodes = 256       // steps of one part
)

// readNode reads one part. A part that is null has no nodes; a Sequence is its members.
func readNode(name string, raw jsontext.Value) ([]node, error) {
	if raw == nil || raw.Kind() == 'n' {
		return nil, nil
	}
	if len(raw) > maxNode {
		return nil, fmt.Errorf("%w: %s of %d bytes, at most %d are allowed", ErrUnsupported, name, len(raw), maxNode)
	}
	var n node
	if err := json.Unmarshal(raw, &n); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFormat, name, err)
	}
	nodes, err := flatten(nil, n, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return nodes, nil
}

func flatten(out []node, n node, depth int) ([]node, error) {
	if n.Type != "Sequence" {
		if len(out) == maxNodes {
			return nil, fmt.Errorf("%w: more than %d steps", ErrUnsupported, maxNodes)
		}
		return append(out, n), nil
	}
	if depth == maxDepth {
		return nil, fmt.Errorf("%w: sequences more than %d deep", ErrUnsupported, maxDepth)
	}
	for _, members := range [][]node{n.Normalizers, n.Pretokenizers, n.Processors, n.Decoders} {
		for _, m := range members {
			var err error
			if out, err = flatten(out, m, depth+1); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// newNormalizer reads the normalisers. bytes reports that the text leaves them with each byte as its character.
func newNormalizer(nodes []node) (ns normalizers, bytes bool, err error) {
	forms := map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}
	for _, n := range nodes {
		if f, ok := forms[n.Type]; ok {
			ns = append(ns, form(f))
			continue
		}
		switch n.Type {
		case "Lowercase":
			ns = append(ns, lowercase{})
		case "Strip":
			ns = append(ns, strip{n.StripLeft, n.StripRight})
		case "StripAccents":
			ns = append(ns, stripAccents{})
		case "Prepend":
			ns = append(ns, prepend(n.Prepend))
		case "Replace":
			if n.Pattern == nil || (n.Pattern.String == nil) == (n.Pattern.Regex == nil) {
				return nil, false, fmt.Errorf("%w: Replace without a pattern", ErrFormat)
			}
			if n.Pattern.String != nil {
				ns = append(ns, replace{*n.Pattern.String, n.Content})
				break
			}
			re, err := newRegex(*n.Pattern.Regex)
			if err != nil {
				return nil, false, err
			}
			ns = append(ns, replaceRegex{re, n.Content})
		case "ByteLevel":
			if bytes {
				return nil, false, fmt.Errorf("%w: ByteLevel twice", ErrUnsupported)
			}
			ns, bytes = append(ns, byteLevelNormalizer{}), true
		default:
			return nil, false, fmt.Errorf("%w: normalizer %q is not known here", ErrUnsupported, n.Type)
		}
	}
	return ns, bytes, nil
}

// newPreTokenizer reads the pre-tokenisers. mapped says that the text comes with each byte as its character; bytes
// reports that the words are bytes.
func newPreTokenizer(nodes []node, mapped bool) (p *preTokenizer, bytes bool, err error) {
	p = &preTokenizer{mapped: mapped}
	for _, n := range nodes {
		s, err := newStep(n)
		if err != nil {
			return nil, false, fmt.Errorf("pre_tokenizer: %w", err)
		}
		if n.Type == "ByteLevel" {
			if p.mapped {
				return nil, false, fmt.Errorf("pre_tokenizer: %w: ByteLevel twice", ErrUnsupported)
			}
			p.mapped = true
		}
		p.steps = append(p.steps, s)
	}
	if !mapped {
		p.speedUp()
	}
	return p, p.mapped, nil
}

// speedUp recognises the shapes that one scan can do: a known pattern and then bytes, with or without digits set apart
// first.
func (p *preTokenizer) speedUp() {
	steps := p.steps
	if len(steps) > 0 {
		if d, ok := steps[0].(digitStep); ok && d.individual {
			p.digits = true
			steps = steps[1:]
		}
	}
	switch len(steps) {
	case 1:
		if b, ok := steps[0].(byteLevelStep); ok && b.cuts && !(b.prefixSpace && p.digits) {
			p.scan, p.prefixSpace = scanGPT2, b.prefixSpace
		}
	case 2:
		k, known := steps[0].(knownStep)
		if b, ok := steps[1].(byteLevelStep); known && ok && !b.cuts && !b.prefixSpace {
			p.scan = k.scan
		}
	}
}

// knownStep is a Split by a known pattern that keeps all words; digitStep is Digits.
type knownStep struct {
	cutter
	scan scan
}

type digitStep struct {
	cutter
	individual bool
}

func newStep(n node) (step, error) {
	switch n.Type {
	case "ByteLevel":
		return byteLevelStep{n.AddPrefixSpace == nil || *n.AddPrefixSpace, n.UseRegex == nil || *n.UseRegex}, nil
	case "Metaspace":
		return newMetaspace(n)
	case "Digits":
		b := contiguous
		if n.IndividualDigits {
			b = isolated
		}
		return digitStep{cutter{findClass(digit, 1), b, false}, n.IndividualDigits}, nil
	case "Whitespace":
		return cutter{findWords, removed, true}, nil
	case "WhitespaceSplit":
		return cutter{findClass(space, 1), removed, false}, nil
	case "Punctuation":
		b, ok := behaviors[n.Behavior]
		if !ok && n.Behavior != "" {
			return nil, fmt.Errorf("%w: Punctuation with behavior %q", ErrFormat, shorten(n.Behavior))
		}
		return cutter{findClass(punct, 1), b, false}, nil
	case "CharDelimiterSplit":
		if utf8.RuneCountInString(n.Delimiter) != 1 {
			return nil, fmt.Errorf("%w: delimiter %q is not one character", ErrFormat, shorten(n.Delimiter))
		}
		return cutter{findText(n.Delimiter), removed, false}, nil
	case "FixedLength":
		if n.Length < 1 {
			return nil, fmt.Errorf("%w: FixedLength of %d", ErrFormat, n.Length)
		}
		return fixedStep(n.Length), nil
	case "Split":
		return newSplit(n)
	}
	return nil, fmt.Errorf("%w: pre-tokenizer %q is not known here", ErrUnsupported, shorten(n.Type))
}

func newSplit(n node) (step, error) {
	b, ok := behaviors[n.Behavior]
	if !ok {
		return nil, fmt.Errorf("%w: Split with behavior %q", ErrFormat, shorten(n.Behavior))
	}
	switch {
	case n.Pattern == nil || (n.Pattern.String == nil) == (n.Pattern.Regex == nil):
		return nil, fmt.Errorf("%w: Split without a pattern", ErrFormat)
	case n.Pattern.String != nil:
		if *n.Pattern.String == "" {
			return nil, fmt.Errorf("%w: Split at nothing", ErrUnsupported)
		}
		return cutter{findText(*n.Pattern.String), b, n.Invert}, nil
	}
	if f, ok := knownPatterns[*n.Pattern.Regex]; ok {
		c := cutter{findScan(f), b, n.Invert}
		if b == isolated || b == removed && n.Invert {
			return knownStep{c, f}, nil
		}
		return c, nil
	}
	if most, ok := numberPatterns[*n.Pattern.Regex]; ok {
		return cutter{findClass(number, most), b, n.Invert}, nil
	}
	re, err := newRegex(*n.Pattern.Regex)
	if err != nil {
		return nil, err
	}
	return cutter{re.matches, b, n.Invert}, nil
}

func newMetaspace(n node) (metaspaceStep, error) {
	m := metaspaceStep{mark: n.Replacement, splitting: n.Split == nil || *n.Split}
	if utf8.RuneCountInString(m.mark) != 1 {
		return m, fmt.Errorf("%w: Metaspace replaces by %q, one character expected", ErrFormat, shorten(m.mark))
	}
	never := n.AddPrefixSpace != nil && !*n.AddPrefixSpace
	switch n.PrependScheme {
	case "always", "":
		m.always = !never
	case "first":
		m.first = true
	case "never":
		never = true
	default:
		return m, fmt.Errorf("%w: Metaspace with prepend_scheme %q", ErrFormat, shorten(n.PrependScheme))
	}
	if never && m.first {
		return m, fmt.Errorf("%w: Metaspace with prepend_scheme %q and add_prefix_space false", ErrFormat, n.PrependScheme)
	}
	return m, nil
}
