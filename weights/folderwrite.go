package weights

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"nosa/dtype"
)

// FolderOptions says how WriteFolder writes; the zero value will do.
type FolderOptions struct {
	Shard    int64 // most bytes of tensors in one file, a larger tensor has its own; 0: 5 GB, as transformers does
	Progress Progress
}

const defaultShard = 5_000_000_000

// shard is one safetensors file to be.
type shard struct {
	tensors []Source
	sizes   []int64
	bytes   int64
}

// WriteFolder writes a Hugging Face folder: the given files (config.json among them) and the tensors as safetensors,
// in shards with an index when they exceed one. It is written beside path and renamed when it is complete; a path that
// exists is refused.
func WriteFolder(ctx context.Context, path string, files map[string][]byte, tensors []Source,
	opts FolderOptions,
) (err error) {
	path = filepath.Clean(path) // a separator at the end would put the temporary sibling inside
	shards, err := plan(tensors, opts.Shard)
	if err == nil {
		err = absent(path)
	}
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	temp := temporary(path)
	if err := os.Mkdir(temp, 0o777); err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }() // gone already when all went well
	err = fillFolder(ctx, temp, files, shards, opts.Progress)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	return SyncFolder(filepath.Dir(path))
}

// plan fills one file after the other.
func plan(tensors []Source, limit int64) ([]*shard, error) {
	if limit <= 0 {
		limit = defaultShard
	}
	shards, names := []*shard{{}}, map[string]bool{}
	for _, t := range tensors {
		if t.Name == "" || t.Name == "__metadata__" || names[t.Name] {
			return nil, fmt.Errorf("tensor name %q is empty, reserved or there twice: %w", t.Name, ErrFormat)
		}
		names[t.Name] = true
		if t.Type.Quantised() {
			return nil, fmt.Errorf("tensor %q: %s has no place in safetensors: %w", t.Name, t.Type, ErrUnsupported)
		}
		size, err := t.size()
		if err != nil {
			return nil, err
		}
		last := shards[len(shards)-1]
		if last.bytes > 0 && last.bytes > limit-size {
			last = &shard{}
			shards = append(shards, last)
		}
		last.tensors, last.sizes, last.bytes = append(last.tensors, t), append(last.sizes, size), last.bytes+size
	}
	return shards, nil
}

func fillFolder(ctx context.Context, dir string, files map[string][]byte, shards []*shard, progress Progress) error {
	var total, done int64
	for _, s := range shards {
		total += s.bytes
	}
	index := map[string]string{}
	for i, s := range shards {
		name := singleFile
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		err := writeFile(filepath.Join(dir, name), func(w *bufio.Writer) error {
			out := &sink{ctx: ctx, to: w, done: done, total: total, progress: progress}
			return s.write(out)
		})
		if err != nil {
			return err
		}
		done += s.bytes
		for _, t := range s.tensors {
			index[t.Name] = name
		}
	}
	if len(shards) > 1 {
		data, err := json.MarshalIndent(map[string]any{
			"metadata": map[string]int64{"total_size": total}, "weight_map": index,
		}, "", "  ")
		if err != nil {
			return err
		}
		files = maps.Clone(files)
		files[indexFile] = data
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !plainName(name) {
			return fmt.Errorf("%q is not the plain name of a file: %w", name, ErrFormat)
		}
		err := writeFile(filepath.Join(dir, name), func(w *bufio.Writer) error {
			_, err := w.Write(files[name])
			return err
		})
		if err != nil {
			return err
		}
	}
	return SyncFolder(dir)
}

// write writes the header, padded so that data begin at a multiple of eight, and the tensors.
func (s *shard) write(out *sink) error {
	type info struct {
		Type    string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	header := []byte(`{"__metadata__":{"format":"pt"}`)
	var at int64
	for i, t := range s.tensors {
		name, err := json.Marshal(t.Name)
		if err != nil {
			return err
		}
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		value, err := json.Marshal(info{safetensorsName(t.Type), shape, [2]int64{at, at + s.sizes[i]}})
		if err != nil {
			return err
		}
		header = append(append(append(append(header, ','), name...), ':'), value...)
		at += s.sizes[i]
	}
	header = append(header, '}')
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	if len(header) > maxHeader {
		return fmt.Errorf("header of %d bytes, the format allows %d: %w", len(header), maxHeader, ErrTooLarge)
	}
	if _, err := out.to.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))); err != nil {
		return err
	}
	if _, err := out.to.Write(header); err != nil {
		return err
	}
	for i, t := range s.tensors {
		if err := out.tensor(t, s.sizes[i]); err != nil {
			return err
		}
	}
	return nil
}

// safetensorsName returns the format's name; dtype's plain types are called the same.
func safetensorsName(t dtype.Type) string { return t.String() }
