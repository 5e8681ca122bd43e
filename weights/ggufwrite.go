package weights

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"nosa/dtype"
)

// Pair is a key of GGUF's metadata with its value: string, bool, uint32, int32, uint64, int64, float32, float64,
// []string, []int32, []float32, or a Value of another file.
type Pair struct {
	Key   string
	Value any
}

// maxTensorName is ggml's limit, whose names end in a zero byte within 64.
const maxTensorName = 63

var ggufNumbers = func() map[dtype.Type]uint32 {
	out := map[dtype.Type]uint32{}
	for number, t := range ggufTypes {
		out[t] = number
	}
	return out
}()

// WriteGGUF writes a GGUF file of version 3 with the tensors under the names given, in that order. It is written beside
// path and renamed when it is complete; a path that exists is refused.
func WriteGGUF(ctx context.Context, path string, meta []Pair, tensors []Source, progress Progress) error {
	header, sizes, err := ggufHeader(meta, tensors)
	if err != nil {
		return fmt.Errorf("weights: %s: %w", path, err)
	}
	var total int64
	for _, n := range sizes {
		total += n
	}
	err = createFile(path, func(w *bufio.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		out := &sink{ctx: ctx, to: w, total: total, progress: progress}
		for i, t := range tensors {
			if err := out.tensor(t, sizes[i]); err != nil {
				return err
			}
			if _, err := w.Write(make([]byte, -sizes[i]&(ggufAlign-1))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	return nil
}

// ggufHeader returns everything before the first tensor's bytes, padded, and the tensors' sizes.
func ggufHeader(meta []Pair, tensors []Source) (header []byte, sizes []int64, err error) {
	b := binary.LittleEndian.AppendUint32([]byte("GGUF"), 3)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(meta)))
	keys := map[string]bool{}
	for _, p := range meta {
		if p.Key == "" || len(p.Key) > maxKeyLength || keys[p.Key] {
			return nil, nil, fmt.Errorf("key %q is empty, too long or there twice: %w", p.Key, ErrFormat)
		}
		keys[p.Key] = true
		if b, err = appendValue(appendString(b, p.Key), p.Value); err != nil {
			return nil, nil, fmt.Errorf("key %q: %w", p.Key, err)
		}
	}
	names, offset := map[string]bool{}, int64(0)
	for _, t := range tensors {
		number, ok := ggufNumbers[t.Type]
		switch {
		case t.Name == "" || len(t.Name) > maxTensorName || names[t.Name]:
			return nil, nil, fmt.Errorf("tensor name %q is empty, longer than %d bytes or there twice: %w", t.Name,
				maxTensorName, ErrFormat)
		case !ok:
			return nil, nil, fmt.Errorf("tensor %q: %s has no place in GGUF: %w", t.Name, t.Type, ErrUnsupported)
		case len(t.Shape) > ggufDims:
			return nil, nil, fmt.Errorf("tensor %q has %d dimensions, GGUF allows %d: %w", t.Name, len(t.Shape), ggufDims,
				ErrUnsupported)
		}
		names[t.Name] = true
		size, err := t.size()
		if err != nil {
			return nil, nil, err
		}
		b = binary.LittleEndian.AppendUint32(appendString(b, t.Name), uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			b = binary.LittleEndian.AppendUint64(b, uint64(d))
		}
		b = binary.LittleEndian.AppendUint32(b, number)
		b = binary.LittleEndian.AppendUint64(b, uint64(offset))
		sizes = append(sizes, size)
		offset += size + -size&(ggufAlign-1)
	}
	return append(b, make([]byte, -len(b)&(ggufAlign-1))...), sizes, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendArray begins an array; its elements follow.
func appendArray(b []byte, elem Kind, n int) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(KindArray))
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(b, uint32(elem)), uint64(n))
}

// appendValue appends a value's kind and bytes.
func appendValue(b []byte, value any) ([]byte, error) {
	kind := func(k Kind) []byte { return binary.LittleEndian.AppendUint32(b, uint32(k)) }
	switch v := value.(type) {
	case string:
		return appendString(kind(KindString), v), nil
	case bool:
		if v {
			return append(kind(KindBool), 1), nil
		}
		return append(kind(KindBool), 0), nil
	case uint32:
		return binary.LittleEndian.AppendUint32(kind(KindUint32), v), nil
	case int32:
		return binary.LittleEndian.AppendUint32(kind(KindInt32), uint32(v)), nil
	case uint64:
		return binary.LittleEndian.AppendUint64(kind(KindUint64), v), nil
	case int64:
		return binary.LittleEndian.AppendUint64(kind(KindInt64), uint64(v)), nil
	case float32:
		return binary.LittleEndian.AppendUint32(kind(KindFloat32), math.Float32bits(v)), nil
	case float64:
		return binary.LittleEndian.AppendUint64(kind(KindFloat64), math.Float64bits(v)), nil
	case []string:
		b = appendArray(b, KindString, len(v))
		for _, s := range v {
			b = appendString(b, s)
		}
		return b, nil
	case []int32:
		b = appendArray(b, KindInt32, len(v))
		for _, n := range v {
			b = binary.LittleEndian.AppendUint32(b, uint32(n))
		}
		return b, nil
	case []float32:
		b = appendArray(b, KindFloat32, len(v))
		for _, f := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
		}
		return b, nil
	case Value:
		if v.Kind == KindArray {
			return append(appendArray(b, v.Elem, v.Len), v.raw...), nil
		}
		return append(kind(v.Kind), v.raw...), nil
	}
	return nil, fmt.Errorf("a %T is no value of GGUF: %w", value, ErrUnsupported)
}
