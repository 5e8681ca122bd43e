package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"nosa/builtin"
	"nosa/compute"
	"nosa/engine"
	"nosa/hub"
	"nosa/kv"
	"nosa/policy"
	"nosa/weights"
)

// ModelFlags are shared by all commands that run a model (design, section 4).
type ModelFlags struct {
	Model string `arg:"" optional:"" default:"builtin" help:"Hugging Face folder, .gguf file, or the name of a pulled model; by default builtin, the small one inside this binary."`

	Attention string `default:"auto" enum:"auto,full,infllmv2,dma,nosa" help:"Which blocks a query reads: ${enum}. auto: what the model was trained for."`
	Topk      int    `name:"topk" placeholder:"N" help:"Blocks that a query selects in all; by default the model's, or 64."`
	TopkQ     int    `name:"topk-q" default:"-1" placeholder:"N" help:"Blocks that the query itself chooses beside the forced ones (nosa); by default the model's."`
	Window    int    `default:"-1" placeholder:"TOKENS" help:"Local window that is always selected; by default the model's."`

	Policy string `placeholder:"NAME[:KEY=VALUE,…]" help:"Make the KV cache smaller by a published method: nosa policies lists them. By default none does."`

	Context     int    `placeholder:"N" help:"Tokens of the longest text; by default as many as the request needs, at most the model's own."`
	RopeScaling string `placeholder:"TYPE:FACTOR" help:"Stretch the positions: linear, dynamic or yarn, such as yarn:4."`
	Chunk       *int   `placeholder:"N" help:"Prompt tokens per step (512, on a GPU 2048); the result does not depend on it."`

	Device  string `default:"cpu" help:"cpu, or cuda[:n]."`
	Threads int    `placeholder:"N" help:"Threads; by default one per processor that this process may use."`

	Numerics string `default:"auto" enum:"auto,f32,int16,int8" help:"Numbers in which quantised weights are multiplied: ${enum}. int16 is nearly as exact as f32, int8 prefills fastest. auto: int16; on a GPU float32, and bfloat16 in attention, which f32 takes to float32."`

	KVDtype  string   `name:"kv-dtype" default:"bf16" enum:"f32,bf16,f16,q8,q4" help:"Format of full KV blocks: ${enum}."`
	KVDevice ByteSize `name:"kv-device" placeholder:"SIZE" help:"Device memory for KV blocks, such as 512MiB; by default all of them."`
	KVHost   ByteSize `name:"kv-host" placeholder:"SIZE" help:"Host pool under it; by default what is needed."`
	KVDisk   string   `name:"kv-disk" placeholder:"DIR[:SIZE]" help:"Folder for what the host pool cannot hold; by default there is no disk tier."`
	KVKeep   string   `name:"kv-keep" default:"lru" enum:"lru,selected" help:"Blocks that stay on the device: the last used, or only the last selection."`
}

// mostStretch is the largest factor of --rope-scaling: that of a model for 1,000 tokens stretched to the largest context.
const mostStretch = 1 << 18

// options turns the flags into the engine's settings.
func (f *ModelFlags) options() (engine.Options, error) {
	o := engine.NewOptions()
	o.Attention, o.TopK, o.TopKQ, o.Window = f.Attention, f.Topk, f.TopkQ, f.Window
	o.Policy, o.Context = f.Policy, f.Context
	if _, err := policy.Parse(f.Policy); err != nil {
		return o, usage("%v", err)
	}
	if f.Chunk != nil {
		o.Chunk = *f.Chunk
	}
	o.KVDevice, o.KVHost = int64(f.KVDevice), int64(f.KVHost)
	var err error
	if o.KVType, err = compute.ParseKVType(f.KVDtype); err != nil {
		return o, usage("--kv-dtype: %v", err)
	}
	if o.Keep, err = kv.ParseKeep(f.KVKeep); err != nil {
		return o, usage("%v", err)
	}
	if o.DiskDir, o.DiskSize, err = parseDisk(f.KVDisk); err != nil {
		return o, err
	}
	if o.DiskDir != "" { // also where the plan will find that it needs none
		switch info, err := os.Stat(o.DiskDir); {
		case err != nil:
			return o, fmt.Errorf("--kv-disk %s: %w", o.DiskDir, reason(err))
		case !info.IsDir():
			return o, fmt.Errorf("--kv-disk %s: is no folder: name one that has room", o.DiskDir)
		}
	}
	if f.RopeScaling != "" {
		kind, by, ok := strings.Cut(f.RopeScaling, ":")
		factor, err := strconv.ParseFloat(by, 64)
		if !ok || err != nil {
			return o, usage("--rope-scaling %q: want TYPE:FACTOR, such as yarn:4", f.RopeScaling)
		}
		if !(factor >= 1 && factor <= mostStretch) { // NaN is neither
			return o, usage("--rope-scaling %s: want a factor from 1 to %d", f.RopeScaling, mostStretch)
		}
		o.RopeType, o.RopeBy = kind, factor
	}
	if f.Context < 0 || f.Topk < 0 || f.Chunk != nil && *f.Chunk < 1 {
		return o, usage("--context, --topk and --chunk take numbers above 0")
	}
	if f.TopkQ < -1 || f.Window < -1 {
		return o, usage("--topk-q and --window take 0 or more, or -1 for the model's")
	}
	return o, nil
}

// openDevice opens the device that the flags and the environment mean.
func (f *ModelFlags) openDevice(g *Globals) (compute.Device, error) {
	numerics, err := compute.ParseNumerics(f.Numerics)
	if err != nil {
		return nil, usage("--numerics: %v", err)
	}
	return newDevice(f.Device, f.Threads, numerics, g.Getenv(levelVariable))
}

// parseDisk splits DIR[:SIZE]. A colon whose right side is no size belongs to the
// folder's name.
func parseDisk(s string) (dir string, size int64, err error) {
	if s == "" {
		return "", 0, nil
	}
	at := strings.LastIndexByte(s, ':')
	if at < 0 {
		return s, 0, nil
	}
	var n ByteSize
	if err := n.UnmarshalText([]byte(s[at+1:])); err != nil {
		if s[at+1:] == "" || s[at+1] >= '0' && s[at+1] <= '9' {
			return "", 0, usage("--kv-disk %s: %v", s, err)
		}
		return s, 0, nil
	}
	if s[:at] == "" {
		return "", 0, usage("--kv-disk %s: the folder is missing", s)
	}
	return s[:at], int64(n), nil
}

// source opens the model that MODEL means.
func (f *ModelFlags) source() (*engine.Source, error) {
	return openSource(f.Model)
}

// openSource opens the model that MODEL means, with its tokenizer and template.
func openSource(name string) (*engine.Source, error) {
	ck, err := openCheckpoint(name)
	if err != nil {
		return nil, err
	}
	return engine.NewSource(ck)
}

// openCheckpoint opens the files of the model that MODEL means. A folder called builtin is ./builtin.
func openCheckpoint(name string) (*weights.Checkpoint, error) {
	if name == builtin.Name {
		return builtin.Open()
	}
	path, err := modelPath(name)
	if err != nil {
		return nil, err
	}
	return weights.Open(path)
}

// modelPath finds a MODEL outside of the binary: a file or folder, or a name that was pulled.
func modelPath(name string) (string, error) {
	_, err := os.Stat(name)
	if err == nil {
		return name, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if filepath.IsAbs(name) || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".gguf") && !strings.Contains(name, ":") {
		return "", fmt.Errorf("%s: there is no such file or folder", name)
	}
	return hub.Lookup(name)
}

// fit sets the context to what a request needs, unless --context says it, and refuses a request that is longer before
// anything is loaded for it.
func (f *ModelFlags) fit(o *engine.Options, src *engine.Source, prompt, more int) error {
	need, most := prompt+more, o.Context
	if most == 0 {
		o.Context = max(need, 1)
		if o.RopeType != "" {
			return nil // the positions are stretched, by how much is the engine's to say
		}
		most = src.Config.MaxPositions
	}
	if need <= most {
		return nil
	}
	tokens := fmt.Sprintf("%d tokens", prompt)
	if more > 0 {
		tokens += fmt.Sprintf(" of prompt and up to %d to generate", more)
	}
	try := fmt.Sprintf("--context %d", need)
	if prompt < most {
		try = fmt.Sprintf("--max-tokens %d or %s", most-prompt, try)
	} else if most == src.Config.MaxPositions {
		try = "a shorter text, or " + try + ", which is beyond what the model was made for"
	}
	return fmt.Errorf("%w: %s, the context has %d: try %s", engine.ErrContext, tokens, most, try)
}
