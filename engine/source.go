package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"nosa/chat"
	"nosa/model"
	"nosa/tokenizer"
	"nosa/weights"
)

// Source is a checkpoint that has been read but not loaded: what the model is,
// and how it reads and writes text.
type Source struct {
	Checkpoint *weights.Checkpoint
	Config     *model.Config
	Tokenizer  *tokenizer.Tokenizer // nil when the checkpoint has none; see TokenizerErr
	// TokenizerErr says why there is no tokenizer. Scoring token ids needs none.
	TokenizerErr error
	Template     *chat.Template // nil when there is none
	TemplateErr  error
	TemplateText string // as it is in the checkpoint

	end map[int32]bool // ids that end a text
}

// ErrNoTokenizer is returned when text is asked of a checkpoint without one.
var ErrNoTokenizer = errors.New("the model has no tokenizer")

// OpenSource reads a Hugging Face folder or a GGUF file.
func OpenSource(path string) (*Source, error) {
	ck, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	return NewSource(ck)
}

// NewSource reads what an open checkpoint says of itself. The checkpoint is the source's from then on, and closed when this fails.
func NewSource(ck *weights.Checkpoint) (_ *Source, err error) {
	path := ck.Path()
	s := &Source{Checkpoint: ck, end: map[int32]bool{}}
	if s.Config, err = model.ParseConfig(ck.Config()); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), ck.Close())
	}
	s.Config.Rope.Interleaved = s.Config.Rope.Interleaved || ck.Interleaved()
	var template string
	if ck.Metadata() != nil {
		s.Tokenizer, s.TokenizerErr = ggufTokenizer(ck.Metadata())
		template, _ = ck.Metadata().String("tokenizer.chat_template")
	} else {
		s.Tokenizer, template, s.TokenizerErr = folderTokenizer(ck)
	}
	if s.TokenizerErr != nil {
		s.TokenizerErr = fmt.Errorf("%s: %w", path, s.TokenizerErr)
	}
	if s.TemplateText = template; template != "" {
		if s.Template, err = chat.Parse(template); err != nil {
			s.TemplateErr = fmt.Errorf("%s: chat template: %w", path, err)
		}
	}
	for _, id := range s.Config.EOS {
		s.end[id] = true
	}
	if s.Tokenizer != nil {
		for _, id := range s.Tokenizer.EOS() {
			s.end[id] = true
		}
	}
	for _, id := range generationEOS(ck) {
		s.end[id] = true
	}
	return s, nil
}

// Close lets go of the checkpoint's files.
func (s *Source) Close() error { return s.Checkpoint.Close() }

// Ends reports whether an id ends a text.
func (s *Source) Ends(id int32) bool { return s.end[id] }

// Encode turns text into ids, with the special tokens that the model begins
// with. special says whether the names of special tokens in the text stand for
// them, as they must in a rendered chat and should not elsewhere.
func (s *Source) Encode(text string, special bool) ([]int32, error) {
	if s.Tokenizer == nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTokenizer, s.TokenizerErr)
	}
	// A chat template writes the beginning itself.
	return s.Tokenizer.TryEncode(nil, text, tokenizer.EncodeOptions{AddSpecial: !special, ParseSpecial: special})
}

func folderTokenizer(ck *weights.Checkpoint) (*tokenizer.Tokenizer, string, error) {
	config, err := ck.File("tokenizer_config.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	template := templateOf(config)
	if own, err := ck.File("chat_template.jinja"); err == nil {
		template = string(own)
	}
	data, err := ck.File("tokenizer.json")
	if err != nil {
		return nil, template, err
	}
	t, err := tokenizer.Parse(data, config)
	return t, template, err
}

func ggufTokenizer(m *weights.Metadata) (*tokenizer.Tokenizer, error) {
	id := func(key string) int32 {
		if n, ok := m.Int("tokenizer.ggml." + key + "_token_id"); ok && n >= 0 && n < 1<<30 {
			return int32(n)
		}
		return -1
	}
	flag := func(key string) *bool {
		if b, ok := m.Bool("tokenizer.ggml." + key); ok {
			return &b
		}
		return nil
	}
	g := tokenizer.GGUF{BOS: id("bos"), EOS: id("eos"), UNK: id("unknown"), PAD: id("padding"),
		AddBOS: flag("add_bos_token"), AddEOS: flag("add_eos_token"), AddSpacePrefix: flag("add_space_prefix")}
	for _, key := range []string{"eot", "eom"} {
		if stop := id(key); stop >= 0 {
			g.Stop = append(g.Stop, stop)
		}
	}
	g.Model, _ = m.String("tokenizer.ggml.model")
	g.Pre, _ = m.String("tokenizer.ggml.pre")
	g.Tokens, _ = m.Strings("tokenizer.ggml.tokens")
	g.Types, _ = m.Ints("tokenizer.ggml.token_type")
	g.Scores, _ = m.Floats("tokenizer.ggml.scores")
	g.Merges, _ = m.Strings("tokenizer.ggml.merges")
	return tokenizer.FromGGUF(g)
}

// Render turns a conversation into the text that the model was trained to
// continue, by its own template or by one that its special tokens give away.
func (s *Source) Render(ctx context.Context, messages []chat.Message) (string, error) {
	return s.RenderWith(ctx, messages, nil)
}

// RenderWith is Render with further arguments of the template.
func (s *Source) RenderWith(ctx context.Context, messages []chat.Message, args *chat.Object) (string, error) {
	if s.Tokenizer == nil {
		return "", fmt.Errorf("%w: %w", ErrNoTokenizer, s.TokenizerErr)
	}
	if s.Template == nil {
		if s.TemplateErr != nil {
			return "", s.TemplateErr
		}
		return "", fmt.Errorf("%s: the model has no chat template: give the prompt as it is to be continued", s.Checkpoint.Path())
	}
	in := chat.Input{Messages: messages, AddGenerationPrompt: true, Extra: args}
	if bos, ok := s.Tokenizer.BOS(); ok {
		in.BOS, _ = s.Tokenizer.Token(bos)
	}
	if eos := s.Tokenizer.EOS(); len(eos) > 0 {
		in.EOS, _ = s.Tokenizer.Token(eos[0])
	}
	return s.Template.Render(ctx, in)
}
