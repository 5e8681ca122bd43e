package corpus

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDiskFull: a shard that the disk has no room for is an error that names it, and what was finished is kept for the next
// time.
func TestDiskFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "set")
	work := filepath.Join(filepath.Dir(dir), ".set.building")
	if err := os.Mkdir(work, 0o777); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(work, "shard-00001.tok")
	if err := os.Symlink("/dev/full", second); err != nil {
		t.Fatal(err)
	}
	o := Options{Vocabulary: vocabulary(t, "gpt2"), Path: texts(t, prose(1, 5000), prose(2, 5000)), ShardTokens: 100}
	_, err := Build(t.Context(), dir, o)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), second) || IsSet(dir) {
		t.Fatal(err)
	}
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	first, err := os.Stat(filepath.Join(work, "shard-00000.tok"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Build(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kept, err := os.Stat(filepath.Join(dir, "shard-00000.tok"))
	if err != nil || !kept.ModTime().Equal(first.ModTime()) || s.Documents() != 2 {
		t.Errorf("%v: the first shard was written again", err)
	}
}
