package hub

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"
)

// Ref is a model's name taken apart: owner/model, then optionally @revision, then optionally :file.gguf.
type Ref struct {
	Owner    string
	Name     string
	Revision string // branch, tag or commit; "" in what the user wrote is main
	File     string // one GGUF file of the model; "": the folder of its safetensors
}

const defaultRevision = "main"

// Lengths are the hub's own limit for owners and models, and what every file system takes for the rest.
var (
	partPattern     = regexp.MustCompile(`^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$`)
	revisionPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+-]*)*$`)
	filePattern     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+=,@-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+=,@-]*)*$`)
	commitPattern   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	sha256Pattern   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

const (
	maxRevision = 200 // with slashes escaped, as it is the name of a file
	maxPath     = 255
)

// ParseRef takes a model's name apart and checks each part. It asks nobody whether such a model exists.
func ParseRef(name string) (Ref, error) {
	bad := func(why string) (Ref, error) {
		return Ref{}, fmt.Errorf("hub: %q: %s; want owner/model, owner/model@revision or owner/model:file.gguf: %w", clip(name), why, ErrName)
	}
	rest, file, named := strings.Cut(name, ":")
	rest, revision, pinned := strings.Cut(rest, "@")
	owner, model, ok := strings.Cut(rest, "/")
	switch {
	case !ok:
		return bad("no owner before a slash")
	case !validPart(owner):
		return bad("the owner is not letters, digits, '-', '_' and '.'")
	case !validPart(model):
		return bad("the model is not letters, digits, '-', '_' and '.'")
	case pinned && !validRevision(revision):
		return bad("the revision is not a branch, tag or commit")
	case named && !validFile(file):
		return bad("the file is not a plain path")
	case named && !strings.HasSuffix(file, ".gguf"):
		return bad("only a .gguf file can be named alone")
	}
	if !pinned {
		revision = defaultRevision
	}
	return Ref{Owner: owner, Name: model, Revision: revision, File: file}, nil
}

// Model is the name at the hub, owner/model.
func (r Ref) Model() string { return r.Owner + "/" + r.Name }

// String is the shortest name that ParseRef takes apart into r again.
func (r Ref) String() string {
	s := r.Model()
	if r.Revision != "" && r.Revision != defaultRevision {
		s += "@" + r.Revision
	}
	if r.File != "" {
		s += ":" + r.File
	}
	return s
}

func validPart(s string) bool {
	return partPattern.MatchString(s) && !strings.Contains(s, "--") && !strings.Contains(s, "..") && !strings.HasSuffix(s, ".git")
}

func validRevision(s string) bool {
	return len(s)+2*strings.Count(s, "/") <= maxRevision && revisionPattern.MatchString(s) && !strings.Contains(s, "..")
}

// validFile tells whether a file of a model may get this name in the store.
func validFile(s string) bool {
	return len(s) <= maxPath && filePattern.MatchString(s) && fs.ValidPath(s)
}

// harmlessPath tells whether a git tree can hold this path. A manifest may list files that nosa never wants, under
// names in any script; one that climbs or hides control characters was made to do harm.
func harmlessPath(s string) bool {
	return len(s) <= 4096 && fs.ValidPath(s) && s != "." && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' })
}

// clip makes text from outside fit for one line of an error.
func clip(s string) string {
	const most = 200
	s = s[:min(len(s), 8*most)] // the rest would be made printable only to be dropped
	clean := strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if runes := []rune(clean); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return clean
}
