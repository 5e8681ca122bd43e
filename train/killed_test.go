package train

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nosa/compute"
)

// childOut names the folder of a run that this process is to do, instead of tests.
const childOut = "NOSA_TRAIN_OUT"

func TestMain(m *testing.M) {
	out := os.Getenv(childOut)
	if out == "" {
		os.Exit(m.Run())
	}
	text := killedConfig(out)
	c, err := Parse("child", []byte(text))
	if err == nil {
		var r *Run
		r, err = Open(Job{
			Config: c, Text: []byte(text), Devices: []compute.Trainer{compute.Reference{}}, Train: &counting{Vocab: c.Model.Vocab, Seed: 1},
			Report: func(rec Record) { fmt.Println(rec.Step) },
		})
		if err == nil {
			err = errors.Join(r.Do(context.Background()), r.Close())
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// killedConfig writes a checkpoint after every step, so that most kills hit one.
func killedConfig(out string) string {
	text := strings.ReplaceAll(runConfig(out, ""), "steps = 6", "steps = 20")
	return strings.Replace(text, "every = 3", "every = 1", 1)
}

// A run that is killed again and again, wherever that hits it, ends with the bits of one that never was.
func TestKilled(t *testing.T) {
	whole, out := t.TempDir(), t.TempDir()
	job := jobOf(t, killedConfig(whole))
	job.Heldout = nil
	mustDo(t, job)
	kills := 0
	for try := 0; ; try++ {
		if try == 100 {
			t.Fatal("the run does not come to its end")
		}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childOut+"="+out)
		stdout, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var complaint strings.Builder
		child.Stderr = &complaint
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for n := 0; n <= try%4 && lines.Scan(); n++ { // after a step or a few,
		}
		time.Sleep(time.Duration(try%7) * time.Millisecond) // and somewhere in what follows
		_ = child.Process.Kill()                            // it may have ended
		for lines.Scan() {
		}
		err = child.Wait()
		if err == nil {
			break
		}
		if kills++; child.ProcessState.ExitCode() == 1 {
			t.Fatalf("after %d kills: %s", kills, complaint.String())
		}
		steps, err := checkpoints(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range steps {
			if err := verify(filepath.Join(out, nameOf(step))); err != nil {
				t.Errorf("after %d kills: %v", kills, err)
			}
		}
	}
	t.Logf("killed %d times", kills)
	if kills < 3 {
		t.Errorf("killed %d times only", kills)
	}
	want, got := files(t, filepath.Join(whole, nameOf(40))), files(t, filepath.Join(out, nameOf(40)))
	if fmt.Sprint(want) != fmt.Sprint(got) {
		t.Errorf("%v\nwant %v", got, want)
	}
}
