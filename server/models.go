package server

import (
	"fmt"
	"net/http"
)

// modelObject is a model in a list of them.
type modelObject struct {
	ID        string `json:"id"`
	Object    string `json:"object"`
	Created   int64  `json:"created"`
	OwnedBy   string `json:"owned_by"`
	Context   int    `json:"max_model_len"`
	Attention string `json:"attention"`
}

type modelList struct {
	Object string        `json:"object"`
	Data   []modelObject `json:"data"`
}

func (s *Server) modelObject() modelObject {
	p := s.Engine.Plan()
	return modelObject{s.Model, "model", s.began.Unix(), "nosa", p.Context, p.Method}
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, modelList{"list", []modelObject{s.modelObject()}})
}

func (s *Server) model(w http.ResponseWriter, r *http.Request) {
	if err := s.checkModel(r.PathValue("name")); err != nil {
		s.refuse(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, s.modelObject())
}

// checkModel refuses a model that is not here.
func (s *Server) checkModel(name string) error {
	if name == s.Model {
		return nil
	}
	return &apiError{Code: http.StatusNotFound, Kind: kindInvalid, Param: "model", Name: "model_not_found", Message: fmt.Sprintf("there is no model %.100q here: this server runs %q", name, s.Model)}
}
