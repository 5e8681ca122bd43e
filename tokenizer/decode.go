package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// decoder turns ids into text. What a decoder of tokenizer.json does to each token by itself is done once, when the
// tokenizer is read; what depends on neighbours is a Stream's.
type decoder struct {
	byteLevel bool    // pieces are bytes; characters may be spread over several
	pieces    *strtab // by id
	sep       string  // between tokens: a space when the file names no decoder

	byteTokens map[int32]byte // tokens that stand for a byte, when the file asks for ByteFallback

	firstMark string // dropped from the first token, Metaspace's way; "" none

	// After the tokens are joined, up to left and right times the character trim goes from the ends.
	trim        string
	left, right int
}

// tokenText returns the text of every id: the added tokens' content, the vocabulary otherwise.
func tokenText(v *vocab, added *addedSet, id int32) (string, bool) {
	if added.has(id) {
		return added.content(id), true
	}
	if v.has(id) {
		return v.get(id), true
	}
	return "", false
}

// newDecoder reads the list of decoders. size is one more than the largest id.
func newDecoder(nodes []node, v *vocab, added *addedSet, size int) (*decoder, error) {
	d := &decoder{}
	if len(nodes) == 0 {
		d.sep = " "
	}
	var each []func(string) string // what is done to each token
	fused := false
	for _, n := range nodes {
		refuse := func(why string) (*decoder, error) {
			return nil, fmt.Errorf("%w: decoder %s %s", ErrUnsupported, n.Type, why)
		}
		if n.Type != "Fuse" && n.Type != "Strip" && (fused || d.byteTokens != nil) {
			return refuse("stands behind one that joins tokens")
		}
		switch n.Type {
		case "ByteLevel":
			d.byteLevel, fused = true, true
		case "Fuse":
			fused = true
		case "ByteFallback":
			d.byteTokens = map[int32]byte{}
		case "Replace":
			if n.Pattern == nil || n.Pattern.String == nil {
				return refuse("with a regular expression")
			}
			from, to := *n.Pattern.String, n.Content
			if from != "" {
				each = append(each, func(s string) string { return strings.ReplaceAll(s, from, to) })
			}
		case "Metaspace":
			m, err := newMetaspace(n)
			if err != nil {
				return nil, err
			}
			if m.always || m.first {
				d.firstMark = m.mark
			}
			each = append(each, func(s string) string { return strings.ReplaceAll(s, m.mark, " ") })
		case "Strip":
			if utf8.RuneCountInString(n.Content) != 1 || n.Start < 0 || n.Stop < 0 {
				return refuse("needs one character and no negative counts")
			}
			if !fused && d.byteTokens != nil || d.trim != "" {
				return refuse("stands where it is not expected")
			}
			if fused {
				d.trim, d.left, d.right = n.Content, n.Start, n.Stop
				break
			}
			each = append(each, func(s string) string { return trimEnds(s, n.Content, n.Start, n.Stop) })
		default:
			return refuse("is not known here")
		}
	}
	if d.firstMark != "" && (len(each) != 1 || d.byteLevel) {
		return nil, fmt.Errorf("%w: decoder Metaspace together with others that change tokens", ErrUnsupported)
	}
	return d, d.fill(each, v, added, size)
}

// fill makes the piece of every token.
func (d *decoder) fill(each []func(string) string, v *vocab, added *addedSet, size int) error {
	d.pieces = newStrtab(size, v.text.Len())
	var buf []byte
	for id := range int32(size) {
		s, ok := tokenText(v, added, id)
		if !ok {
			continue
		}
		if d.firstMark == "" {
			for _, f := range each {
				s = f(s)
			}
		}
		if d.byteTokens != nil {
			if b, ok := byteToken(s); ok {
				d.byteTokens[id] = b
			}
		}
		if d.byteLevel {
			if buf, ok = fromByteLevel(buf[:0], s); ok {
				s = string(buf)
			}
		}
		if err := d.pieces.put(id, s); err != nil {
			return err
		}
	}
	return nil
}

// byteToken reads the token of a byte, as <0x0A>.
func byteToken(s string) (byte, bool) {
	if len(s) != 6 || s[:3] != "<0x" || s[5] != '>' {
		return 0, false
	}
	hi, lo := hexDigit(s[3]), hexDigit(s[4])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// trimEnds removes char up to left times from the start of s and up to right times from its end.
func trimEnds(s, char string, left, right int) string {
	for ; left > 0 && strings.HasPrefix(s, char); left-- {
		s = s[len(char):]
	}
	for ; right > 0 && strings.HasSuffix(s, char); right-- {
		s = s[:len(s)-len(char)]
	}
	return s
}

// piece returns what an id adds to the text. first is set for the first id of a text.
func (d *decoder) piece(id int32, first bool) (string, bool) {
	if !d.pieces.has(id) {
		return "", false
	}
	s := d.pieces.get(id)
	if d.firstMark != "" {
		with := " "
		if first {
			with = ""
		}
		s = strings.ReplaceAll(s, d.firstMark, with)
	}
	return s, true
}
