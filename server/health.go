package server

import "net/http"

type status struct {
	Status string `json:"status"`
}

// healthz says that the process answers.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, status{"ok"})
}

// readyz says whether requests are taken.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if !s.ready() {
		writeJSON(w, http.StatusServiceUnavailable, status{"draining"})
		return
	}
	writeJSON(w, http.StatusOK, status{"ready"})
}
