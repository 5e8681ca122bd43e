package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// Setting is a way to run a model that is compared with others.
type Setting struct {
	Method string `json:"method"`           // of attention
	Policy string `json:"policy,omitempty"` // of the KV cache, NAME[:key=value,…]; empty: all is kept
}

// Name is short enough for a table.
func (s Setting) Name() string {
	if s.Policy == "" {
		return s.Method
	}
	return s.Method + "+" + s.Policy
}

// Record is a line of the results: what became of a sample.
type Record struct {
	Setting
	Task   string `json:"task"`
	Length int    `json:"length"`
	Index  int    `json:"index"`

	Score  *float64 `json:"score,omitempty"` // 0 to 1; of an answer
	Depth  *float64 `json:"depth,omitempty"` // where in the text what was asked for lay, 0 to 1
	Groups []string `json:"groups,omitempty"`
	Answer string   `json:"answer,omitempty"`
	Wanted []string `json:"wanted,omitempty"`

	PromptTokens     int     `json:"prompt_tokens,omitempty"`
	CachedTokens     int     `json:"cached_tokens,omitempty"`
	CompletionTokens int     `json:"completion_tokens,omitempty"`
	PrefillSeconds   float64 `json:"prefill_seconds,omitempty"`
	DecodeSeconds    float64 `json:"decode_seconds,omitempty"`
	KVBytes          int64   `json:"kv_bytes,omitempty"`      // held at the end
	KVFullBytes      int64   `json:"kv_full_bytes,omitempty"` // that full attention would hold of as many tokens
	Selected         int64   `json:"selected_blocks,omitempty"`
	Hits             int64   `json:"hits,omitempty"` // of them in slots

	Loss     *Loss     `json:"loss,omitempty"`
	Fidelity *Fidelity `json:"fidelity,omitempty"`
	Locality *Locality `json:"locality,omitempty"`
}

// key says which sample a record is of.
type key struct {
	Setting
	task          string
	length, index int
}

func (r *Record) key() key { return key{r.Setting, r.Task, r.Length, r.Index} }

// header is the first line of the results: what all records have in common.
type header struct {
	Version int               `json:"nosa_eval"`
	Run     map[string]string `json:"run"`
}

const (
	version = 1
	// The most that is read of results: an answer has a few KiB, and a run some hundred thousand samples.
	mostRecord  = 4 << 20
	mostRecords = 4 << 20
)

// ErrResults is returned for results that are not of this run, or not results at all.
var ErrResults = errors.New("the results can not be added to")

// readRecords reads results. A last line without an end is of a run that was killed, and left out; whole says how many bytes
// are whole lines.
func readRecords(in io.Reader) (run map[string]string, records []Record, whole int64, err error) {
	r := bufio.NewReaderSize(in, 64<<10)
	var line []byte
	for n := 1; ; n++ {
		line = line[:0]
		for {
			part, err := r.ReadSlice('\n')
			if line = append(line, part...); len(line) > mostRecord || n > mostRecords {
				return nil, nil, 0, fmt.Errorf("line %d: more than %d bytes, or lines: %w", n, mostRecord, ErrResults)
			}
			if err == nil {
				break
			}
			if errors.Is(err, io.EOF) {
				if n == 1 && len(line) > 0 {
					return nil, nil, 0, fmt.Errorf("line 1: it has no end: %w", ErrResults)
				}
				return run, records, whole, nil
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return nil, nil, 0, err
			}
		}
		if n == 1 {
			var h header
			if err := json.Unmarshal(line, &h); err != nil || h.Version != version || h.Run == nil {
				return nil, nil, 0, fmt.Errorf("line 1: no results of nosa eval in version %d: %w", version, ErrResults)
			}
			run = h.Run
		} else if len(bytes.TrimSpace(line)) > 0 {
			var rec Record
			if err := json.Unmarshal(line, &rec); err != nil {
				return nil, nil, 0, fmt.Errorf("line %d: %w: %w", n, ErrResults, err)
			}
			if rec.Task == "" || rec.Method == "" || rec.Index < 0 || rec.Length < 0 {
				return nil, nil, 0, fmt.Errorf("line %d: it names no sample: %w", n, ErrResults)
			}
			records = append(records, rec)
		}
		whole += int64(len(line))
	}
}

// results is a file of records that grows.
type results struct {
	file    *os.File
	records []Record
	done    map[key]bool
}

// openResults goes on with the results of a run, or begins them.
func openResults(path string, run map[string]string) (_ *results, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}()
	had, records, whole, err := readRecords(f)
	if err != nil {
		return nil, err
	}
	if had != nil {
		all := maps.Clone(had)
		maps.Copy(all, run)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if had[name] != run[name] {
				return nil, fmt.Errorf("they are of another run: %s was %s, and is %s: take another --out, or remove them: %w", name, orNothing(had[name]), orNothing(run[name]), ErrResults)
			}
		}
	}
	if err := f.Truncate(whole); err != nil {
		return nil, err
	}
	if _, err := f.Seek(whole, io.SeekStart); err != nil {
		return nil, err
	}
	r := &results{file: f, records: records, done: map[key]bool{}}
	for i := range records {
		r.done[records[i].key()] = true
	}
	if had == nil {
		return r, r.line(header{version, run})
	}
	return r, nil
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return fmt.Sprintf("%.80q", s)
}

// line writes a line at once, so that a kill leaves it whole or cut, and never two mixed.
func (r *results) line(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := r.file.Write(b.Bytes())
	return err
}

// add notes what became of a sample.
func (r *results) add(rec Record) error {
	if err := r.line(rec); err != nil {
		return err
	}
	r.records = append(r.records, rec)
	r.done[rec.key()] = true
	return nil
}

func (r *results) close() error { return errors.Join(r.file.Sync(), r.file.Close()) }
