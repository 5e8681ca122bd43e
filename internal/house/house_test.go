package house

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "nosa"

// below lists what each room may import. A room is a package; what is not
// listed here may not exist, so that a new room is placed when it is made.
var below = map[string][]string{
	// Leaves: they import nothing of nosa.
	"dtype":     nil,
	"tokenizer": nil,
	"chat":      nil,
	"hub":       nil,
	"kv/vfs":    nil,
	"client":    nil,
	"trace":     nil,

	"weights":         {"dtype"},
	"builtin":         {"weights"},
	"weights/convert": {"weights", "dtype"},

	"compute":         {"dtype"},
	"compute/cpu":     {"compute", "dtype"},
	"compute/cpu/gen": {},
	"compute/cuda":    {"compute", "compute/cuda/driver", "dtype"},

	"compute/cuda/driver": nil,
	"compute/cuda/step":   {"compute", "compute/cuda", "compute/cuda/driver", "dtype"},
	"compute/cuda/train":  {"compute", "compute/cuda", "compute/cuda/driver", "dtype"},

	"kv":                {"compute", "kv/vfs", "dtype"},
	"attention":         {"kv", "compute", "dtype"},
	"policy":            {"kv", "compute", "dtype"},
	"policy/policytest": {"policy"},
	"model":             {"attention", "policy", "kv", "compute", "weights", "dtype"},
	"engine":            {"model", "attention", "policy", "kv", "kv/vfs", "compute", "tokenizer", "chat", "weights", "dtype"},
	"train/corpus":      {"tokenizer", "weights"},
	"train":             {"train/corpus", "model", "attention", "policy", "kv", "kv/vfs", "compute", "tokenizer", "chat", "weights", "weights/convert", "dtype"},
	"eval":              {"engine", "compute", "tokenizer", "chat", "client"},
	"server":            {"engine", "tokenizer", "chat", "compute", "trace"},
	"bench":             {"engine", "model", "attention", "kv", "compute", "weights", "dtype"},

	"bench/load":    {"client"},
	"bench/decode":  {"bench", "compute", "compute/cuda", "compute/cuda/driver", "compute/cuda/step", "dtype"},
	"bench/prefill": {"attention", "bench", "compute", "compute/cuda", "compute/cuda/driver", "compute/cuda/step", "dtype", "kv", "model"},
	"bench/train":   {"attention", "bench", "compute", "compute/cuda/driver", "compute/cuda/train", "model", "train"},

	"cmd/nosa": {anything},

	// Helpers of tests, which no other code imports.
	"compute/computetest":          {"compute", "dtype"},
	"compute/cuda/emulator/faults": {"compute/cuda/driver", "dtype"},
	"compute/steptest":             {"compute", "dtype"},
	"hub/hubtest":                  nil,
	"internal/house":               nil,
}

// anything as an entry allows every room.
const anything = "*"

// forTests tells the packages that only tests may import.
func forTests(room string) bool { return strings.HasSuffix(room, "test") }

// listed is what go list says of a package.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Module                             struct{ Path string }
}

func packages(t *testing.T) []listed {
	t.Helper()
	// go test keeps a result for as long as the files that the test looked at
	// stay the same; what go list looks at it does not see.
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports,Module", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var list []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// room gives the name of one of our packages, and false for another's.
func room(path string) (string, bool) { return strings.CutPrefix(path, module+"/") }

// wrong tells why a room may not import another, or nothing.
func wrong(from, to string) string {
	allowed, ok := below[from]
	switch {
	case !ok:
		return "is not a room of the house: give it a place in the table of internal/house"
	case forTests(to):
		return "imports " + to + ", which is for tests"
	case slices.Contains(allowed, to) || slices.Contains(allowed, anything):
		return ""
	}
	return "imports " + to + ", which is not below it"
}

func TestArrows(t *testing.T) {
	list := packages(t)
	if len(list) < 5 {
		t.Fatalf("found %d packages, want at least 5", len(list))
	}
	for _, p := range list {
		from, ok := room(p.ImportPath)
		if !ok {
			t.Errorf("%s is not in the module %s", p.ImportPath, module)
			continue
		}
		if _, ok := below[from]; !ok {
			t.Errorf("%s %s", from, wrong(from, ""))
			continue
		}
		for _, path := range p.Imports {
			if to, ours := room(path); ours {
				if why := wrong(from, to); why != "" {
					t.Errorf("%s %s", from, why)
				}
			}
			if path == "C" {
				t.Errorf("%s uses cgo", from)
			}
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			if to, ours := room(path); ours && testWrong(from, to) {
				t.Errorf("the tests of %s import %s, which is above it", from, to)
			}
		}
	}
}

// testWrong tells whether the tests of a room reach above it. They may use
// what lies below it, at any depth, its own parts, helpers of tests, and the
// devices, which a test needs in order to run anything.
func testWrong(from, to string) bool {
	if from == to || forTests(to) || strings.HasPrefix(to, "compute/") || strings.HasPrefix(to, from+"/") {
		return false
	}
	return !reaches(from, to, map[string]bool{})
}

func reaches(from, to string, seen map[string]bool) bool {
	if seen[from] {
		return false
	}
	seen[from] = true
	for _, next := range below[from] {
		if next == to || next == anything || reaches(next, to, seen) {
			return true
		}
	}
	return false
}

// TestTable checks the table itself: it has no circle, and the check refuses
// what it must.
func TestTable(t *testing.T) {
	for from := range below {
		for _, to := range below[from] {
			if to == anything {
				continue
			}
			if _, ok := below[to]; !ok {
				t.Errorf("%s may import %s, which is not in the table", from, to)
			}
			if reaches(to, from, map[string]bool{}) {
				t.Errorf("%s and %s may import each other", from, to)
			}
		}
	}
	for _, tc := range [][2]string{
		{"kv", "attention"}, {"kv", "compute/cpu"}, {"compute", "compute/cpu"}, {"chat", "tokenizer"},
		{"model", "engine"}, {"attention", "policy"}, {"weights", "compute"}, {"engine", "compute/cpu"},
		{"engine", "hub"}, {"cmd/nosa", "compute/computetest"}, {"nowhere", "kv"},
	} {
		if wrong(tc[0], tc[1]) == "" {
			t.Errorf("%s may import %s, want it refused", tc[0], tc[1])
		}
	}
	for _, tc := range [][2]string{{"kv", "engine"}, {"chat", "model"}, {"tokenizer", "weights"}} {
		if !testWrong(tc[0], tc[1]) {
			t.Errorf("the tests of %s may import %s, want it refused", tc[0], tc[1])
		}
	}
}
