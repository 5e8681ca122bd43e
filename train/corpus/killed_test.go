package corpus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// killedOptions are what the process builds that TestKilled kills.
func killedOptions(input string) (Options, error) {
	v, err := ReadVocabulary("../../tokenizer/testdata/gpt2.tokenizer.json")
	return Options{Vocabulary: v, Path: input, Threads: 2, ShardTokens: 20000}, err
}

// TestMain is the test, or the process that it kills.
func TestMain(m *testing.M) {
	input, dir := os.Getenv("CORPUS_TEST_INPUT"), os.Getenv("CORPUS_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	o, err := killedOptions(input)
	if err == nil {
		_, err = Build(context.Background(), dir, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestKilled kills a build at moments by chance until one of them comes to its end: what is there then is what a build in one
// go makes, and until then there is no set.
func TestKilled(t *testing.T) {
	var lines strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&lines, `{"text": %s}`+"\n", must(json.Marshal(prose(uint64(i), 1500))))
	}
	input := writeFile(t, filepath.Join(t.TempDir(), "a.jsonl"), lines.String())
	want := built(t, must(killedOptions(input)))
	dir := filepath.Join(t.TempDir(), "set")
	r := random(1)
	kills, longest := 0, 60
	for {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "CORPUS_TEST_INPUT="+input, "CORPUS_TEST_DIR="+dir)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(20+r.below(longest))*time.Millisecond, func() {
			_ = cmd.Process.Kill() // it may have ended
		})
		err := cmd.Wait()
		kill.Stop()
		if err == nil {
			break
		}
		if said.Len() > 0 {
			t.Fatalf("%v: %s", err, &said)
		}
		if IsSet(dir) {
			break // killed behind the last rename
		}
		kills++
		longest += longest/8 + 1 // a slow machine gets there as well
	}
	t.Logf("killed %d times", kills)
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !bytes.Equal(folderBytes(t, dir), folderBytes(t, want.Dir())) {
		t.Error("other bytes than of a build in one go")
	}
}
