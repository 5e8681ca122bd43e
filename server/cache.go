package server

import (
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"nosa/engine"
)

// cacheResponse is where blocks are. Cells has two bytes a block, in base64, by layer,
// then KV head, then block: bits of where it is (1 slot, 2 host, 4 disk, 8 being
// written, 16 on its way, 32 held by several requests, 64 selected in the last step, 128
// decoded by the device itself, which may have it in slots of its own and tells nobody what
// it selects), and in how many of the last Window steps it was selected.
type cacheResponse struct {
	Request string  `json:"request,omitempty"`
	Open    bool    `json:"open"` // whether there is such a request: one may end at any time
	Choice  int     `json:"choice"`
	Step    int64   `json:"step"`
	Window  int     `json:"window"`
	Layers  [2]int  `json:"layers"` // from, to
	Heads   int     `json:"heads"`
	Tokens  int     `json:"block_tokens"`
	Blocks  [2]int  `json:"blocks"` // from, to
	Total   int     `json:"total_blocks"`
	Numbers []int32 `json:"numbers"` // of the blocks, in their text
	Cells   string  `json:"cells"`
}

// cache answers GET /nosa/cache: where the blocks of a request are, or those that are
// kept for requests to come. A request that is not open, or is another one's, has none.
func (s *Server) cache(w http.ResponseWriter, r *http.Request) {
	ask, err := readCacheQuery(r.URL.RawQuery)
	if err == nil && ask.request == "" && s.Keys != nil && !operator(r) {
		err = &apiError{Code: http.StatusForbidden, Kind: kindKey, Name: "operator_only", Message: "the blocks of ended requests are for the keys of operators: name one of your requests"}
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	// One at a time, so that the engine is not kept from its next step by many.
	select {
	case s.looking <- struct{}{}:
		defer func() { <-s.looking }()
	case <-r.Context().Done():
		return
	}
	var v engine.View
	if ask.request == "" {
		v, err = s.Service.Kept(r.Context(), ask.layers, ask.blocks)
	} else {
		v, err = s.Service.Blocks(r.Context(), s.sees(r), ask.request, ask.choice, ask.layers, ask.blocks)
	}
	open := err == nil && ask.request != ""
	if err != nil && !errors.Is(err, engine.ErrNoRequest) {
		s.refuse(w, r, err)
		return
	}
	cells := make([]byte, 0, 2*len(v.Cells))
	for _, c := range v.Cells {
		cells = append(cells, byte(c.Where), c.Wanted)
	}
	numbers := v.Numbers
	if numbers == nil {
		numbers = []int32{}
	}
	writeJSON(w, http.StatusOK, cacheResponse{
		Request: ask.request, Open: open, Choice: ask.choice, Step: v.Step, Window: engine.WatchedSteps, Layers: [2]int{v.Layers.From, v.Layers.To}, Heads: v.Heads, Tokens: v.Block,
		Blocks: [2]int{v.Columns.From, v.Columns.To}, Total: v.Total, Numbers: numbers, Cells: base64.StdEncoding.EncodeToString(cells),
	})
}

// cacheQuery is what GET /nosa/cache is asked for.
type cacheQuery struct {
	request        string // "": blocks that no request holds
	choice         int
	layers, blocks engine.Range
}

func readCacheQuery(raw string) (q cacheQuery, err error) {
	whole := engine.Range{From: 0, To: math.MaxInt}
	q.layers, q.blocks = whole, whole
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, invalid("", "the query can not be read: %v", err)
	}
	for name, v := range values {
		if len(v) != 1 {
			return q, invalid(name, "%.60q is there %d times", name, len(v))
		}
		switch name {
		case "request":
			q.request = v[0]
		case "choice":
			if q.choice, err = strconv.Atoi(v[0]); err != nil {
				return q, invalid(name, "choice %.60q: want a number", v[0])
			}
		case "layers":
			q.layers, err = readRange(name, v[0])
		case "blocks":
			q.blocks, err = readRange(name, v[0])
		default:
			return q, invalid(name, "%.60q is not known here: want request, choice, layers, blocks", name)
		}
		if err != nil {
			return q, err
		}
	}
	return q, nil
}

// readRange reads FROM-TO, where TO is left out of the range.
func readRange(name, text string) (engine.Range, error) {
	a, b, ok := strings.Cut(text, "-")
	from, errFrom := strconv.ParseUint(a, 10, 31)
	to, errTo := strconv.ParseUint(b, 10, 31)
	if !ok || errFrom != nil || errTo != nil || from > to {
		return engine.Range{}, invalid(name, "%s %.60q: want FROM-TO, such as 0-8 for the first eight", name, text)
	}
	return engine.Range{From: int(from), To: int(to)}, nil
}
