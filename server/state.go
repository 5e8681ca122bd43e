package server

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"nosa/engine"
)

// mostTold is the most requests that GET /nosa/state lists.
const mostTold = 200

// board is the requests that are being answered, by id, so that they can be cancelled.
type board struct {
	mu   sync.Mutex
	open map[string]entry
}

type entry struct {
	tenant string
	*asking
}

func (b *board) put(id, tenant string, a *asking) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = map[string]entry{}
	}
	b.open[id] = entry{tenant, a}
}

func (b *board) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, id)
}

func (b *board) get(id string) (entry, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.open[id]
	return e, ok
}

// sees tells whose requests the sender of a request may see and cancel: its own, or
// everybody's if it is an operator or there are no keys.
func (s *Server) sees(r *http.Request) func(tenant string) bool {
	if s.Keys == nil || operator(r) {
		return func(string) bool { return true }
	}
	return func(name string) bool { return name == tenant(r) }
}

// stateResponse is how the server stands. What it counts goes up for ever: rates are
// the reader's to make.
type stateResponse struct {
	Model     string  `json:"model"`
	Attention string  `json:"attention"`
	Context   int     `json:"context"`
	Ready     bool    `json:"ready"`
	SeesAll   bool    `json:"sees_all"`
	Seconds   float64 `json:"seconds"` // since the beginning

	Running int   `json:"running"`
	Waiting int   `json:"waiting"`
	Paused  int   `json:"paused"`
	Steps   int64 `json:"steps"`
	Rows    int64 `json:"step_tokens"`
	Drawn   int64 `json:"generated_tokens"`

	Ended struct {
		Answered  int64 `json:"answered"`
		Failed    int64 `json:"failed"`
		Cancelled int64 `json:"cancelled"`
	} `json:"ended"`
	Bounds     []float64     `json:"bounds"` // of the histograms, in seconds
	FirstToken histogramJSON `json:"first_token"`
	NextToken  histogramJSON `json:"next_token"`

	BlockBytes int64      `json:"block_bytes"`
	Held       int        `json:"held_blocks"`   // by requests
	Cached     int        `json:"cached_blocks"` // kept for requests to come
	Slots      tierJSON   `json:"slots"`
	Host       tierJSON   `json:"host"`
	Disk       tierJSON   `json:"disk"`
	Total      tierTotal  `json:"total"`
	Layers     [][4]int64 `json:"layers"` // selected, hits, host hits, disk hits

	Requests []requestJSON `json:"requests"`
	More     int           `json:"more_requests"` // that are not listed
}

// tierTotal is what all requests have wanted of the cache, and where it was.
type tierTotal struct {
	Selected      int64   `json:"selected_blocks"`
	Hits          int64   `json:"hits"`
	HostHits      int64   `json:"host_hits"`
	DiskHits      int64   `json:"disk_hits"`
	BytesUp       int64   `json:"bytes_up"`
	BytesDown     int64   `json:"bytes_down"`
	BytesToDisk   int64   `json:"bytes_to_disk"`
	BytesFromDisk int64   `json:"bytes_from_disk"`
	Wait          float64 `json:"wait_seconds"`
}

type histogramJSON struct {
	Counts []int64 `json:"counts"`
	Sum    float64 `json:"sum"`
}

func (h *histogram) json() histogramJSON {
	j := histogramJSON{make([]int64, len(h.counts)), time.Duration(h.sum.Load()).Seconds()}
	for i := range h.counts {
		j.Counts[i] = h.counts[i].Load()
	}
	return j
}

// tierJSON is a tier's places, and those that have a block.
type tierJSON struct {
	Blocks int `json:"blocks"`
	Places int `json:"places"`
}

type requestJSON struct {
	ID       string       `json:"id"`
	Key      string       `json:"key,omitempty"` // whose it is
	Priority int          `json:"priority"`
	Choice   int          `json:"choice"`
	Phase    engine.Phase `json:"phase"`
	Seat     *int         `json:"seat"`
	Prompt   int          `json:"prompt_tokens"`
	Cached   int          `json:"cached_tokens"`
	Held     int          `json:"held_tokens"`
	Written  int          `json:"generated_tokens"`
	Most     int          `json:"max_total_tokens"`
	Seconds  float64      `json:"seconds"`
}

// state answers GET /nosa/state.
func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	requests, more, err := s.Service.Requests(r.Context(), s.sees(r), mostTold)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	st, err := s.Service.Look(r.Context()) // a step later, perhaps: what is counted has not gone back
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	p, t := s.Engine.Plan(), st.Store.Total
	res := stateResponse{
		Model: s.Model, Attention: p.Method, Context: p.Context, Ready: s.ready(), SeesAll: s.Keys == nil || operator(r), Seconds: time.Since(s.began).Seconds(),
		Running: st.Running, Waiting: st.Waiting, Paused: st.Paused, Steps: st.Steps, Rows: st.Rows, Drawn: st.Drawn,
		Bounds: bounds[:], FirstToken: s.counts.firstToken.json(), NextToken: s.counts.nextToken.json(),
		BlockBytes: p.BlockLen, Held: st.Store.Live - st.Store.Cached, Cached: st.Store.Cached,
		Slots: tierJSON{st.Store.InSlot, p.Slots}, Host: tierJSON{st.Store.InHost, p.Pages}, Disk: tierJSON{st.Store.OnDisk, p.Records},
		Total: tierTotal{t.Selected, t.Hits, t.HostHits, t.DiskHits, t.BytesUp, t.BytesDown, t.BytesToDisk, t.BytesFromDisk, t.Wait.Seconds()}, Layers: make([][4]int64, len(st.Store.Layers)), Requests: make([]requestJSON, len(requests)), More: more,
	}
	res.Ended.Answered, res.Ended.Failed, res.Ended.Cancelled = s.counts.answered.Load(), s.counts.failed.Load(), s.counts.cancelled.Load()
	for i, l := range st.Store.Layers {
		res.Layers[i] = [4]int64{l.Selected, l.Hits, l.HostHits, l.DiskHits}
	}
	for i, q := range requests {
		j := requestJSON{
			ID: q.ID, Key: q.Tenant, Priority: -q.Priority, Choice: q.Choice, Phase: q.Phase,
			Prompt: q.Prompt, Cached: q.Shared, Held: q.Held, Written: q.Written, Most: q.Most, Seconds: q.Age.Seconds(),
		}
		if q.Seat >= 0 {
			j.Seat = &q.Seat
		}
		res.Requests[i] = j
	}
	writeJSON(w, http.StatusOK, res)
}

// cancelRequest is the body of a request to cancel, which says nothing.
type cancelRequest struct{}

type cancelResponse struct {
	ID        string `json:"id"`
	Cancelled bool   `json:"cancelled"`
}

// cancel answers POST /nosa/requests/{id}/cancel: the request ends for its client as
// one that was cancelled. What is another one's is answered as what is not there.
func (s *Server) cancel(w http.ResponseWriter, r *http.Request) {
	var none cancelRequest
	if err := decode(w, r, &none); err != nil {
		s.refuse(w, r, err)
		return
	}
	id := r.PathValue("id")
	e, ok := s.board.get(id)
	if !ok || !s.sees(r)(e.tenant) {
		s.refuse(w, r, &apiError{Code: http.StatusNotFound, Kind: kindInvalid, Name: "request_not_found", Message: fmt.Sprintf("there is no open request %.60q", id)})
		return
	}
	for _, a := range e.answers {
		a.Cancel()
	}
	s.Log.Info("a request was cancelled", "id", id, "by", requestID(r))
	writeJSON(w, http.StatusOK, cancelResponse{id, true})
}
