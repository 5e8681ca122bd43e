package train

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Config is one training run, as a TOML file has it. The tags say all that people are told of a
// field: Fields reads them, and through it `nosa train --help-config` and docs/train.md.
type Config struct {
	Out  string `toml:"out" help:"Folder of the run: its checkpoints (step-00001000) and log.jsonl. A run whose folder has checkpoints goes on from the last one."`
	Seed uint64 `toml:"seed" help:"Of the first weights and of the order of the data. The same seed, config, binary and CPU give the same bits."`

	TensorBoard bool `toml:"tensorboard" help:"Whether the log is also written for TensorBoard, into the folder tensorboard in out."`

	Model      ModelConfig      `toml:"model"`
	Sparse     SparseConfig     `toml:"sparse"`
	Corpus     CorpusConfig     `toml:"corpus"`
	Batch      BatchConfig      `toml:"batch"`
	Loss       LossConfig       `toml:"loss"`
	Optimiser  OptimiserConfig  `toml:"optimiser"`
	Stages     []StageConfig    `toml:"stage"`
	Evaluation EvaluationConfig `toml:"evaluation"`
	Checkpoint CheckpointConfig `toml:"checkpoint"`
}

// ModelConfig is the model to begin with: one that is there, or a shape.
type ModelConfig struct {
	Path      string `toml:"path" help:"Hugging Face folder to continue from; its config.json gives the shape, and the fields from family to init are left alone. A llama with a stage of nosa or dma becomes a nosa: delta is drawn, A is 0."`
	Tokenizer string `toml:"tokenizer" help:"Folder whose tokenizer files belong to the model, copied into every checkpoint; by default path."`

	Family       string  `toml:"family" help:"llama, qwen2, qwen3 or nosa."`
	Hidden       int     `toml:"hidden" help:"Channels of the hidden state."`
	Layers       int     `toml:"layers" help:"Layers."`
	Heads        int     `toml:"heads" help:"Query heads of a layer."`
	KVHeads      int     `toml:"kv_heads" help:"KV heads of a layer, which divide the query heads."`
	HeadDim      int     `toml:"head_dim" help:"Channels of a head; 0: hidden / heads."`
	Intermediate int     `toml:"intermediate" help:"Channels inside the MLP."`
	Vocab        int     `toml:"vocab" help:"Tokens of the vocabulary; 0: as many as the tokenizer has."`
	Tied         bool    `toml:"tied" help:"Whether the embedding is also the output table."`
	Eps          float64 `toml:"eps" help:"Of the RMS norms."`
	RopeTheta    float64 `toml:"rope_theta" help:"Base of the rotation; a stage may change it."`
	BOS          int     `toml:"bos" help:"Id of the token that begins a text, for config.json; -1: the tokenizer's."`
	EOS          int     `toml:"eos" help:"Id of the token that ends one; -1: the tokenizer's."`
	Init         float64 `toml:"init" help:"Standard deviation of the first weights; those of o_proj and down_proj are divided by √(2·layers)."`
	InitScore    float64 `toml:"init_score" help:"Standard deviation of the first delta, also where path's model has none."`
}

// SparseConfig are the constants of selection. What is absent is the model's own, or NOSA's.
type SparseConfig struct {
	KernelSize   *int `toml:"kernel_size" help:"Tokens of a pooling window." default:"the model's, or 32"`
	KernelStride *int `toml:"kernel_stride" help:"Tokens between two windows." default:"the model's, or 16"`
	BlockSize    *int `toml:"block_size" help:"Tokens of a block." default:"the model's, or 64"`
	InitBlocks   *int `toml:"init_blocks" help:"First blocks, always selected." default:"the model's, or 1"`
	WindowSize   *int `toml:"window_size" help:"Tokens before the query's block, always selected, in whole blocks." default:"the model's, or 1024"`
	TopK         *int `toml:"topk" help:"Blocks that a query selects in all." default:"the model's, or 64"`
	TopKQ        *int `toml:"topk_q" help:"Blocks that the query chooses beside the forced ones (nosa)." default:"the model's, or 16"`
	DenseLen     *int `toml:"dense_len" help:"Queries at positions below it see every block." default:"the model's, or 0"`
}

// CorpusConfig says what is read.
type CorpusConfig struct {
	Shards  string         `toml:"shards" help:"Folder for the token ids of the texts, which are made once; by default the folder shards in out."`
	Train   []SourceConfig `toml:"train"`
	Heldout []SourceConfig `toml:"heldout"`
}

// SourceConfig is one collection of documents: texts, or needles that are made up.
type SourceConfig struct {
	Path   string  `toml:"path" help:"A file or folder of texts (.txt, .jsonl, .parquet), or a folder of shards that were made before."`
	Format string  `toml:"format" help:"text, jsonl or parquet; by default what the names of the files say."`
	Field  string  `toml:"field" help:"Of JSONL and Parquet: the field that has the text; by default text."`
	Weight float64 `toml:"weight" help:"Share of the tokens, beside the weights of the others; 0 in all of them: by their sizes."`

	Needles    int  `toml:"needles" help:"Instead of texts, documents that tell so many keys with their values, and ask for some at the end; path, if there is one, has the text that lies between."`
	Questions  int  `toml:"questions" help:"Keys that are asked for; by default 1."`
	Digits     int  `toml:"digits" help:"Of a value; by default 5."`
	Shortest   int  `toml:"shortest" help:"Tokens of the shortest document with needles; by default 256."`
	Longest    int  `toml:"longest" help:"Tokens of the longest one; by default the context."`
	AnswerOnly bool `toml:"answer_only" help:"Whether a document with needles has targets for its answers alone."`
}

// BatchConfig says how much is computed at once.
type BatchConfig struct {
	Tokens    int    `toml:"tokens" help:"Tokens of a step."`
	Rows      int    `toml:"rows" help:"Tokens of one pass over the device, which divide tokens: gradients of the passes of a step add up. At least the longest context."`
	Recompute string `toml:"recompute" help:"What the backward pass computes again instead of keeping it: none, cheap (norms and SwiGLU), layer (all but each layer's input)."`
	HeadRows  int    `toml:"head_rows" help:"Rows of logits that exist at once."`
}

// LossConfig is what is learnt beside the next token.
type LossConfig struct {
	Importance float64 `toml:"importance" help:"Weight of the loss that teaches importance scores which tokens later ones look at (stages of nosa and dma); 0: none. docs/train.md says what it is."`
}

// OptimiserConfig is AdamW, its schedule, and what it is allowed to change.
type OptimiserConfig struct {
	Rate            float64       `toml:"rate" help:"The highest learning rate."`
	Schedule        string        `toml:"schedule" help:"After the warm-up: cosine down to floor, wsd (constant, then down to floor in the last steps), or constant."`
	Warmup          int           `toml:"warmup" help:"Steps in which the rate rises from 0."`
	Decay           int           `toml:"decay" help:"Steps of wsd's descent, a straight line; the last ones of the run."`
	Floor           float64       `toml:"floor" help:"Where the descent ends, as a share of rate."`
	Beta1           float64       `toml:"beta1" help:"Of AdamW's mean of gradients."`
	Beta2           float64       `toml:"beta2" help:"Of AdamW's mean of their squares."`
	Eps             float64       `toml:"eps" help:"Of AdamW."`
	WeightDecay     float64       `toml:"weight_decay" help:"Of matrices, times the learning rate. Norms, biases and A never decay."`
	DecayEmbeddings bool          `toml:"decay_embeddings" help:"Whether the embedding and the output table decay."`
	Clip            float64       `toml:"clip" help:"Largest norm of all gradients together; longer ones are scaled down to it. 0: never."`
	Train           []string      `toml:"train" help:"Patterns of the tensors to train, such as '*.self_attn.delta.*' and '*.self_attn.A'; the others are frozen. Empty: all."`
	Freeze          []string      `toml:"freeze" help:"Patterns of tensors to freeze, of those that would be trained."`
	Groups          []GroupConfig `toml:"group"`
}

// GroupConfig gives some tensors a rate of their own.
type GroupConfig struct {
	Match       string   `toml:"match" help:"Pattern of tensor names; the first group that matches counts."`
	Rate        float64  `toml:"rate" help:"Factor on the learning rate; by default 1."`
	WeightDecay *float64 `toml:"weight_decay" help:"Instead of the optimiser's, also for norms, biases and A." default:"the optimiser's"`
}

// StageConfig is a part of the run; stages follow each other.
type StageConfig struct {
	Steps     int     `toml:"steps" help:"Steps of this stage."`
	Method    string  `toml:"method" help:"Attention: full, infllmv2, dma or nosa. nosa attends to every block, with its bias, where the context has no more than topk."`
	Context   int     `toml:"context" help:"Tokens of the longest document; longer ones are cut."`
	RopeTheta float64 `toml:"rope_theta" help:"Base of the rotation from this stage on; 0: as before."`

	WindowSize *int `toml:"window_size" help:"In this stage, instead of sparse.window_size." default:"that of [sparse]"`
	TopK       *int `toml:"topk" help:"In this stage, instead of sparse.topk: fewer blocks, so that short contexts too are sparse." default:"that of [sparse]"`
	TopKQ      *int `toml:"topk_q" help:"In this stage, instead of sparse.topk_q." default:"that of [sparse]"`
}

// EvaluationConfig is about held-out data.
type EvaluationConfig struct {
	Every  int `toml:"every" help:"Steps between evaluations on corpus.heldout, beside the one at the end; 0: that one alone."`
	Tokens int `toml:"tokens" help:"Tokens of an evaluation, the same each time."`
}

// CheckpointConfig is about what is kept on disk.
type CheckpointConfig struct {
	Every int `toml:"every" help:"Steps between checkpoints, beside the one at the end."`
	Keep  int `toml:"keep" help:"Checkpoints that are kept: the last ones; 0: all."`
}

// ErrConfig is returned for a config that no run can follow.
var ErrConfig = errors.New("the config is not usable")

// Default is a Config with the values of absent fields.
func Default() Config {
	return Config{
		Seed: 1,
		Model: ModelConfig{
			Family: "nosa", Tied: true, Eps: 1e-5, RopeTheta: 10000, BOS: -1, EOS: -1, Init: 0.02, InitScore: 0.02,
		},
		Batch: BatchConfig{Recompute: "none", HeadRows: 1024},
		Optimiser: OptimiserConfig{
			Schedule: "cosine", Floor: 0.1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Clip: 1,
		},
		Evaluation: EvaluationConfig{Tokens: 1 << 18},
		Checkpoint: CheckpointConfig{Every: 1000, Keep: 3},
	}
}

// Parse reads a config; name is the file's, for errors, which give the line. A field that does
// not exist is refused.
func Parse(name string, data []byte) (*Config, error) {
	c := Default()
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch err := d.Decode(&c); {
	case err == nil:
	case errors.As(err, &unknown):
		first := unknown.Errors[0]
		row, _ := first.Position()
		return nil, fmt.Errorf("%w: %s:%d: there is no field %s (nosa train --help-config lists them)", ErrConfig, name, row, strings.Join(first.Key(), "."))
	case errors.As(err, &wrong):
		row, column := wrong.Position()
		return nil, fmt.Errorf("%w: %s:%d:%d: %s", ErrConfig, name, row, column, plainly(wrong))
	default:
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &c, nil
}

// wrongType is what the decoder says of a value of another type, in the words of Go.
var wrongType = regexp.MustCompile(`cannot decode TOML (\w+) into .* of type \[?\]?\*?(\w+)`)

// plainly says the same in those of people.
func plainly(err *toml.DecodeError) string {
	m := wrongType.FindStringSubmatch(err.Error())
	if m == nil {
		return strings.TrimPrefix(err.Error(), "toml: ")
	}
	want := map[string]string{"float64": "a number", "int": "a whole number", "uint64": "a whole number from 0", "bool": "true or false", "string": "a text"}[m[2]]
	return fmt.Sprintf("%s is %s %s, want %s", strings.Join(err.Key(), "."), article(m[1]), m[1], cmp.Or(want, m[2]))
}

func article(word string) string {
	if strings.ContainsRune("aeiou", rune(word[0])) {
		return "an"
	}
	return "a"
}

// Steps of all stages.
func (c *Config) Steps() int {
	n := 0
	for _, s := range c.Stages {
		n += s.Steps
	}
	return n
}

// Stage gives the number of the stage of a step, counted from 0; the last one's behind the end.
func (c *Config) Stage(step int) int {
	for i, s := range c.Stages {
		if step < s.Steps {
			return i
		}
		step -= s.Steps
	}
	return len(c.Stages) - 1
}

// Theta is the base of the rotation in a stage, and 0 where it is the model's own.
func (c *Config) Theta(stage int) float64 {
	for i := stage; i >= 0; i-- {
		if c.Stages[i].RopeTheta != 0 {
			return c.Stages[i].RopeTheta
		}
	}
	return 0
}

// Context is the longest context of all stages.
func (c *Config) Context() int {
	n := 0
	for _, s := range c.Stages {
		n = max(n, s.Context)
	}
	return n
}
