package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/compute/cuda"
	"nosa/compute/cuda/step"
	"nosa/engine"
	"nosa/model"
	"nosa/train/corpus"
)

// measurement is what the flags ask for.
type measurement struct {
	out, device, parts string
	vocabulary         *corpus.Vocabulary
	texts              *corpus.Set
	digest             string // of texts

	context, documents, poolDocuments, steps int
	needles                                  needleSettings
	ratios                                   []float64
	topk, topkQ, window                      int
	threads                                  int

	stderr io.Writer
}

func measureCommand(ctx context.Context, args []string, stderr io.Writer) (err error) {
	m := &measurement{stderr: stderr}
	f := flag.NewFlagSet("measure", flag.ContinueOnError)
	f.StringVar(&m.out, "o", ".", "the `folder` of the results")
	vocabulary := f.String("vocabulary", "", "the `folder` of the models' tokenizer (required)")
	texts := f.String("texts", "", "the `folder` of held-out texts, made by nosa corpus build (required)")
	f.StringVar(&m.device, "device", "cpu", "`cpu` or cuda[:n], for loss and needles; pools are counted on the CPU")
	f.StringVar(&m.parts, "parts", "loss,needles,pools", "what to measure")
	f.IntVar(&m.context, "context", 8192, "`tokens` of a document")
	f.IntVar(&m.documents, "documents", 32, "held-out documents whose loss is measured; all are as long as the context")
	f.IntVar(&m.poolDocuments, "pool-documents", 2, "held-out documents that pools are measured with")
	f.IntVar(&m.steps, "steps", 256, "`tokens` that are decoded at the end of each of those")
	ratios := f.String("slots", "1.25,1.5,2,3,4", "slots of a pool for each block that is selected, beside what keeping the last selection comes to")
	f.IntVar(&m.needles.Samples, "samples", 500, "questions about needles")
	f.IntVar(&m.needles.Questions, "questions", 4, "of them, how many one document answers")
	f.IntVar(&m.needles.Digits, "digits", 5, "of an answer")
	f.Uint64Var(&m.needles.Seed, "seed", 7, "of the needles")
	f.IntVar(&m.topk, "topk", 0, "blocks that a query selects; 0: the model's")
	f.IntVar(&m.topkQ, "topk-q", -1, "of them, those that the query chooses; -1: the model's")
	f.IntVar(&m.window, "window", -1, "`tokens` of the local window; -1: the model's")
	f.IntVar(&m.threads, "threads", 0, "of the CPU; 0: one per processor")
	if err := parse(f, args, stderr, "models, as NAME=FOLDER or NAME=FOLDER:METHOD"); err != nil {
		return err
	}
	for _, s := range strings.Split(*ratios, ",") {
		r, err := strconv.ParseFloat(s, 64)
		if err != nil || !(r >= 1) {
			return fmt.Errorf("-slots %s: want numbers from 1", *ratios)
		}
		m.ratios = append(m.ratios, r)
	}
	if m.steps < 1 || m.steps >= m.context || m.documents < 1 || m.poolDocuments < 1 || m.needles.Samples < 1 || m.needles.Questions < 1 {
		return fmt.Errorf("-context, -documents, -pool-documents, -steps, -samples and -questions take numbers above 0, and fewer steps than the context has tokens")
	}
	if m.vocabulary, err = corpus.ReadVocabulary(*vocabulary); err != nil {
		return err
	}
	if m.texts, err = corpus.Open(*texts, m.vocabulary); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.texts.Close()) }()
	digest := m.texts.Digest()
	m.digest = hex.EncodeToString(digest[:8])
	m.needles.Filler, m.needles.Device, m.needles.Length = m.digest, m.device, m.context
	for _, arg := range f.Args() {
		if err := m.model(ctx, arg); err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
	}
	return nil
}

// model measures the parts that are missing of one model.
func (m *measurement) model(ctx context.Context, arg string) error {
	name, folder, ok := strings.Cut(arg, "=")
	if !ok {
		return errors.New("want NAME=FOLDER or NAME=FOLDER:METHOD")
	}
	method := "auto"
	if at := strings.LastIndexByte(folder, ':'); at >= 0 {
		folder, method = folder[:at], folder[at+1:]
	}
	path := filepath.Join(m.out, name+".json")
	r, err := readResult(path)
	if err != nil {
		return err
	}
	if r.Folder != "" && (r.Folder != folder || r.Method != method && method != "auto") {
		return fmt.Errorf("%s is of %s, %s: remove it, or take another name", path, r.Folder, r.Method)
	}
	if err := m.about(r, name, folder, method); err != nil {
		return err
	}
	for _, part := range strings.Split(m.parts, ",") {
		start := time.Now()
		var did bool
		switch part {
		case "loss":
			did, err = m.loss(ctx, r)
		case "needles":
			did, err = m.retrieve(ctx, r)
		case "pools":
			did, err = m.pools(ctx, r)
		default:
			err = fmt.Errorf("there is no part %q", part)
		}
		if err == nil && did {
			fmt.Fprintf(m.stderr, "%s: %s in %.1f s\n", name, part, time.Since(start).Seconds())
			err = r.write(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// about fills in what the checkpoint says of itself.
func (m *measurement) about(r *result, name, folder, method string) (err error) {
	src, err := engine.OpenSource(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	plan, err := src.Prepare(m.options(method))
	if err != nil {
		return err
	}
	r.Name, r.Folder, r.Method, r.Parameters, r.Sparse = name, folder, plan.Method, 0, nil
	for _, tensor := range src.Checkpoint.Names() {
		t, err := src.Checkpoint.Tensor(tensor)
		if err != nil {
			return err
		}
		r.Parameters += int64(t.Elements())
	}
	if plan.Method == "full" {
		return nil
	}
	s := model.DefaultSparse()
	if src.Config.Sparse != nil {
		s = *src.Config.Sparse
	}
	r.Sparse = &constants{Block: s.BlockSize, Init: s.InitBlocks, Window: s.WindowSize, TopK: s.TopK, TopKQ: s.TopKQ}
	if m.topk > 0 {
		r.Sparse.TopK = m.topk
	}
	if m.topkQ >= 0 {
		r.Sparse.TopKQ = m.topkQ
	}
	if m.window >= 0 {
		r.Sparse.Window = m.window
	}
	return nil
}

func (m *measurement) options(method string) engine.Options {
	o := engine.NewOptions()
	o.Attention, o.Context, o.TopK, o.TopKQ, o.Window = method, m.context, m.topk, m.topkQ, m.window
	return o
}

// with runs do with an engine, which it closes.
func (m *measurement) with(r *result, device string, o engine.Options, do func(e *engine.Engine) error) (err error) {
	dev, err := m.open(device)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	src, err := engine.OpenSource(r.Folder)
	if err != nil {
		return err
	}
	e, err := engine.Open(dev, src, o, slog.New(slog.DiscardHandler))
	if err != nil {
		return errors.Join(err, src.Close())
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return do(e)
}

func (m *measurement) open(name string) (compute.Device, error) {
	kind, number, numbered := strings.Cut(name, ":")
	switch kind {
	case "cpu":
		return cpu.New(cpu.Options{Threads: m.threads})
	case "cuda":
		n := 0
		if numbered {
			var err error
			if n, err = strconv.Atoi(number); err != nil {
				return nil, fmt.Errorf("-device %s: %w", name, err)
			}
		}
		return step.New(cuda.Options{GPU: n})
	}
	return nil, fmt.Errorf("-device %s: want cpu or cuda[:n]", name)
}

// read returns the first tokens of count held-out documents that have as many as the context, spread over the set.
func (m *measurement) read(count int) ([][]int32, error) {
	var long []uint64
	for d := range m.texts.Documents() {
		ids, err := m.texts.Document(nil, d)
		if err != nil {
			return nil, err
		}
		if len(ids) >= m.context {
			long = append(long, d)
		}
	}
	if len(long) == 0 {
		return nil, fmt.Errorf("no held-out document has %d tokens", m.context)
	}
	count = min(count, len(long))
	docs := make([][]int32, count)
	for i := range docs {
		ids, err := m.texts.Document(nil, long[i*len(long)/count])
		if err != nil {
			return nil, err
		}
		docs[i] = ids[:m.context]
	}
	return docs, nil
}

func (m *measurement) textSettings(device string, documents int) textSettings {
	return textSettings{Texts: m.digest, Context: m.context, Documents: documents, Device: device}
}
