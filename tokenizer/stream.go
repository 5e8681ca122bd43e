package tokenizer

import "unicode/utf8"

// Stream turns ids into text as they come. The pieces that it returns, joined, are what Decode makes of all ids.
//
// It differs from the reference's decoding in one case: where byte tokens stand in a row and the row as a whole is not
// UTF-8, the reference gives U+FFFD for each byte, and a Stream, which cannot know the end of the row, keeps what is
// whole in it.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	exact       bool   // stray bytes are kept as they are
	started     bool   // a token has been seen
	pending     []byte // the start of a character
	left        int    // how often trim may still go from the start
	held        int    // how many trim are held back, as they may be the end
	buf         []byte
}

// NewStream returns a Stream at the start of a text. Special tokens add nothing to it if skipSpecial is set.
func (t *Tokenizer) NewStream(skipSpecial bool) *Stream {
	return &Stream{t: t, skipSpecial: skipSpecial, left: t.decoder.left}
}

// Prime tells the stream what came before its first id, such as the prompt that is being continued, so that a space or
// the rest of a character at the seam is kept. It is called before the first Push.
func (s *Stream) Prime(ids []int32) {
	for _, id := range ids {
		s.buf = s.feed(s.buf[:0], id)
	}
}

// Push takes the next id and returns the text that is now certain. A character whose bytes are not all there is held
// back, and so is a space at the end where the tokenizer drops one. An id that is no token adds nothing.
func (s *Stream) Push(id int32) string {
	s.buf = s.feed(s.buf[:0], id)
	return string(s.buf)
}

// Flush returns what is left at the end: U+FFFD for a character that was not completed. The stream is then at the start
// of a new text.
func (s *Stream) Flush() string {
	s.buf = s.flush(s.buf[:0])
	s.started, s.left, s.held = false, s.t.decoder.left, 0
	return string(s.buf)
}

// feed appends to dst what an id adds.
func (s *Stream) feed(dst []byte, id int32) []byte {
	d := s.t.decoder
	if s.skipSpecial && s.t.IsSpecial(id) {
		return dst
	}
	piece, ok := d.piece(id, !s.started)
	if !ok {
		return dst
	}
	at := len(dst)
	if s.started {
		dst = append(dst, d.sep...)
	}
	s.started = true
	b, isByte := d.byteTokens[id]
	switch {
	case d.byteLevel:
		s.pending = append(s.pending, piece...)
		dst = s.characters(dst, false)
	case isByte:
		s.pending = append(s.pending, b)
		dst = s.characters(dst, false)
	default:
		dst = s.characters(dst, true)
		s.pending = append(s.pending, piece...)
		dst = s.characters(dst, true)
	}
	return s.trimmed(dst, at)
}

// flush appends what is left.
func (s *Stream) flush(dst []byte) []byte {
	at := len(dst)
	return s.trimmed(s.characters(dst, true), at)
}

// characters moves whole characters from pending to dst, and all of pending if no more will come.
func (s *Stream) characters(dst []byte, all bool) []byte {
	p := s.pending
	for len(p) > 0 {
		if !all && !utf8.FullRune(p) {
			break
		}
		r, n := utf8.DecodeRune(p)
		if r != utf8.RuneError || n > 1 {
			dst = append(dst, p[:n]...)
			p = p[n:]
			continue
		}
		if s.t.decoder.byteLevel {
			// As much as could have been the start of a character is one error, as in Rust and Python.
			for n < len(p) && !utf8.FullRune(p[:n+1]) {
				n++
			}
		}
		if s.exact {
			dst = append(dst, p[:n]...)
		} else {
			dst = append(dst, "\uFFFD"...)
		}
		p = p[n:]
	}
	s.pending = append(s.pending[:0], p...)
	return dst
}

// trimmed removes from dst[at:] what the decoder drops at the start of a text, holds back what it may drop at the end,
// and gives what was held back before if text follows it.
func (s *Stream) trimmed(dst []byte, at int) []byte {
	d := s.t.decoder
	if d.trim == "" || len(dst) == at {
		return dst
	}
	text := string(dst[at:])
	dst = dst[:at]
	kept := trimEnds(text, d.trim, s.left, 0)
	s.left -= (len(text) - len(kept)) / len(d.trim)
	if kept == "" {
		return dst
	}
	s.left = 0
	if d.right == 0 {
		return append(dst, kept...)
	}
	body := trimEnds(kept, d.trim, 0, len(kept))
	ends := (len(kept) - len(body)) / len(d.trim)
	if body != "" {
		dst = appendTimes(dst, d.trim, s.held)
		dst = append(dst, body...)
		s.held = 0
	}
	s.held += ends
	if more := s.held - d.right; more > 0 {
		dst = appendTimes(dst, d.trim, more)
		s.held = d.right
	}
	return dst
}

func appendTimes(dst []byte, s string, n int) []byte {
	for range n {
		dst = append(dst, s...)
	}
	return dst
}

// Decode returns the text of ids, as valid UTF-8. Special tokens are left out if skipSpecial is set.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	s := t.NewStream(skipSpecial)
	dst := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		dst = s.feed(dst, id)
	}
	return string(s.flush(dst))
}

// DecodeBytes appends the text of ids to dst, with stray bytes as they are: for a byte-level vocabulary without
// normaliser, exactly the bytes that were encoded.
func (t *Tokenizer) DecodeBytes(dst []byte, ids []int32, skipSpecial bool) []byte {
	s := t.NewStream(skipSpecial)
	s.exact = true
	for _, id := range ids {
		dst = s.feed(dst, id)
	}
	return s.flush(dst)
}
