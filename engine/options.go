package engine

import (
	"errors"
	"fmt"
	"time"

	"nosa/attention"
	"nosa/compute"
	"nosa/kv"
	"nosa/kv/vfs"
	"nosa/model"
)

// Options are the settings that all commands that run a model share. The zero
// value runs a model as it was trained, with all of its KV cache on the device.
type Options struct {
	Attention string // auto or a method's name; empty: auto
	TopK      int    // 0: as the model says
	TopKQ     int    // −1: as the model says
	Window    int    // tokens; −1: as the model says
	Context   int    // tokens of the longest sequence; 0: as the model was trained for
	Sequences int    // of that length, that can be open at once; 0: 1
	Chunk     int    // rows of a prefill step; 0: DefaultChunk, or as the device likes it
	RopeType  string // --rope-scaling TYPE:FACTOR; empty: as the model says
	RopeBy    float64
	Seats     int // the same for shorter ones, and such as begin alike; 0: Sequences
	// Policy compresses the KV cache: NAME[:key=value,…]; empty or none: nothing does.
	Policy string

	KVType   compute.KVType
	KVDevice int64 // bytes of slots and tails; 0: room for every block
	KVHost   int64 // bytes of the host pool; 0: what is needed
	DiskDir  string
	DiskSize int64         // bytes; 0: what is needed
	DiskLast bool          // keep what is on disk for the next process
	DiskFS   vfs.FS        // nil: the system's
	Timeout  time.Duration // for a transfer to report; 0: 30 s
	Keep     kv.Keep
	Retain   bool // keep the blocks of sequences that have ended, for those that begin alike

	// OnLogits, when set, is given the logits of every position of Generate and
	// Score, in order.
	OnLogits func(pos int, logits []float32)
	// OnSelect, when set, is told every selection (see attention.Config.Trace).
	OnSelect func(layer int, t compute.Tile, sel compute.Selection)
	// OnAttend, when set, is given the queries and keys of every layer (see attention.Config.Watch).
	OnAttend func(layer, pos int, q, k compute.Tensor)
}

// NewOptions are the options of a command without flags.
func NewOptions() Options {
	return Options{Attention: "auto", TopKQ: -1, Window: -1, KVType: compute.KVBF16}
}

// ErrOptions is returned for settings that contradict each other or the model.
var ErrOptions = errors.New("settings do not fit")

// DefaultChunk is the number of prompt tokens in a prefill step.
const DefaultChunk = 512

// packedChunk is that of a device that packs weights. Its products, as those of a GPU, get
// their full speed where the rows are thousands: reading the weights takes a tenth of the
// time then, and most of the thread blocks of a product are as many at a time as there can
// be. A step stays short enough, some hundredths of a second, for others to wait for.
const packedChunk = 2048

// maxContext is the longest context, in tokens: far above any model's.
const maxContext = 1 << 28

// settings are Options resolved against a model.
type settings struct {
	Options
	method    attention.Method
	constants attention.Constants
	layout    compute.Layout
	policy    *policies // nil: nothing compresses the cache
	steps     *steps    // of a device that decodes by itself
	packing   *packing  // of a device that packs weights
	free      int64     // of a device with memory of its own: what it has; 0: it has none
	note      string    // what the user should know of a choice that was made
}

// resolve picks the method and its constants. trained says whether the
// checkpoint has the tensors of the importance score.
func (o Options) resolve(c *model.Config, trained bool) (*settings, error) {
	s := &settings{Options: o}
	name := o.Attention
	if name == "" || name == "auto" {
		switch {
		case trained:
			name = "nosa"
		case c.Scored:
			return nil, fmt.Errorf("%w: config.json says %s, but the file lacks the tensors delta and A: --attention full or infllmv2 runs it without them", model.ErrWeights, c.Family)
		case c.Sparse != nil:
			name = "infllmv2"
		default:
			name = "full"
		}
	}
	var err error
	if s.method, err = attention.ByName(name); err != nil {
		return nil, err
	}
	if s.method.Keeps().Scores && !trained {
		return nil, fmt.Errorf("%w: %s needs a model with the tensors delta and A, which this one lacks: use full, or infllmv2 without training", attention.ErrMethod, name)
	}
	sparse := model.DefaultSparse()
	if c.Sparse != nil {
		sparse = *c.Sparse
		if s.method.Keeps().Scores && !sparse.DenseGiven {
			sparse.DenseLen = 0 // also where the family's own default is another
		}
	} else if name == "infllmv2" {
		s.note = "this model was not trained for infllmv2: its blocks are chosen training-free"
	}
	if o.TopK > 0 {
		sparse.TopK = o.TopK
	}
	if o.TopKQ >= 0 {
		sparse.TopKQ = o.TopKQ
	}
	if o.Window >= 0 {
		sparse.WindowSize = o.Window
	}
	if o.TopK < 0 {
		return nil, fmt.Errorf("%w: --topk %d: want a number of blocks above 0", ErrOptions, o.TopK)
	}
	if name != "full" {
		if err := sparse.Validate(); err != nil {
			return nil, fmt.Errorf("%w: --topk, --topk-q, --window: %w", ErrOptions, err)
		}
	}
	s.constants = attention.Constants{
		Block: sparse.BlockSize, Kernel: sparse.KernelSize, Stride: sparse.KernelStride,
		Init: sparse.InitBlocks, Local: sparse.LocalBlocks(), K: sparse.TopK, Query: sparse.TopKQ, DenseLen: sparse.DenseLen,
	}
	s.layout = attention.Layout(s.method, s.constants, c.KVHeads, c.HeadDim, o.KVType)
	if err := s.resolvePolicy(c); err != nil {
		return nil, err
	}
	if err := s.layout.Validate(); err != nil {
		return nil, err
	}
	if s.Chunk == 0 {
		s.Chunk = DefaultChunk
	}
	if s.Chunk < 1 || s.Chunk > 1<<16 {
		return nil, fmt.Errorf("%w: prefill chunk of %d tokens: want 1 to 65536", ErrOptions, s.Chunk)
	}
	if s.Context == 0 {
		s.Context = c.MaxPositions
	}
	if s.Context < 1 || s.Context > maxContext {
		return nil, fmt.Errorf("%w: --context %d: want 1 to %d tokens", ErrOptions, s.Context, maxContext)
	}
	s.Chunk = min(s.Chunk, s.Context)
	if s.Sequences == 0 {
		s.Sequences = 1
	}
	if s.DiskLast && s.DiskDir == "" {
		return nil, fmt.Errorf("%w: what is to last needs a --kv-disk", ErrOptions)
	}
	if s.Sequences < 1 || s.Sequences > 1<<16 {
		return nil, fmt.Errorf("%w: %d sequences at once: want 1 to 65536", ErrOptions, s.Sequences)
	}
	if s.Seats = max(s.Seats, s.Sequences); s.Seats > 1<<16 {
		return nil, fmt.Errorf("%w: %d sequences at once: want 65536 at most", ErrOptions, s.Seats)
	}
	return s, nil
}
