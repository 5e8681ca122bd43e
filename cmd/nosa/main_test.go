package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// TestMain lets the test binary be nosa itself, for what only a process can show: signals and closed pipes.
func TestMain(m *testing.M) {
	if os.Getenv("NOSA_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// result is what a run of the program left.
type result struct {
	code        int
	out, errors string
}

// nosa runs the program in this process, with nothing of the environment but env.
func nosa(t testing.TB, env map[string]string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr, func(k string) string { return env[k] })
	return result{code, stdout.String(), stderr.String()}
}

// refused checks for one line on stderr, nothing on stdout, and the exit code.
func (r result) refused(t testing.TB, code int, says ...string) {
	t.Helper()
	if r.code != code || r.out != "" || strings.Count(r.errors, "\n") != 1 || !strings.HasPrefix(r.errors, "nosa: ") {
		t.Errorf("want one line and code %d, got %+v", code, r)
	}
	for _, s := range says {
		if !strings.Contains(r.errors, s) {
			t.Errorf("%q does not say %q", r.errors, s)
		}
	}
}

func TestUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		says []string
	}{
		"nothing":             {nil, []string{"expected one of", "nosa --help"}},
		"unknown command":     {[]string{"dance"}, []string{"dance", "nosa --help"}},
		"unknown flag":        {[]string{"--dance"}, []string{"--dance", "nosa --help"}},
		"command's flag":      {[]string{"pull", "a/b", "--dance"}, []string{"--dance", "nosa pull --help"}},
		"flag without value":  {[]string{"pull", "a/b", "--revision"}, []string{"--revision", "nosa pull --help"}},
		"too many arguments":  {[]string{"inspect", "a", "b"}, []string{"nosa inspect --help"}},
		"too few arguments":   {[]string{"inspect"}, []string{"<model>", "nosa inspect --help"}},
		"not of the set":      {[]string{"completion", "tcsh"}, []string{"tcsh", "bash"}},
		"pull of nothing":     {[]string{"pull"}, []string{"nosa pull --help"}},
		"pull and list":       {[]string{"pull", "-l", "a/b"}, []string{"nosa pull --help"}},
		"pull of no name":     {[]string{"pull", "gpt2"}, []string{"owner/model"}},
		"escapes in the flag": {[]string{"--\x1b[2J\n"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, map[string]string{"NOSA_HOME": t.TempDir()}, tc.args...).refused(t, exitUsage, tc.says...)
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"pull", "-h"}, {"inspect", "--help"}} {
		if r := nosa(t, nil, args...); r.code != exitDone || !strings.HasPrefix(r.out, "Usage: nosa") || r.errors != "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// TestCommandLine: kong's own check of the structs, and a help for all that can be typed.
func TestCommandLine(t *testing.T) {
	parser, err := newParser(&commands{}, &Globals{Stdout: NewOutput(io.Discard), Stderr: NewOutput(io.Discard)})
	if err != nil {
		t.Fatal(err)
	}
	err = kong.Visit(parser.Model.Node, func(n kong.Visitable, next kong.Next) error {
		switch n := n.(type) {
		case *kong.Node:
			if n.Type == kong.CommandNode && n.Help == "" {
				t.Errorf("command %s has no help", n.Name)
			}
		case *kong.Flag:
			if n.Help == "" {
				t.Errorf("flag --%s has no help", n.Name)
			}
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// full is a stream whose disk is full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestFullOutput(t *testing.T) {
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"version"}, strings.NewReader(""), full{}, &stderr, func(string) string { return "" })
	if code != exitFailed || !strings.Contains(stderr.String(), "no space left") || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("code %d, %q", code, stderr.String())
	}
}

// TestPanic: what should never happen is one line, and with NOSA_DEBUG the place.
func TestPanic(t *testing.T) {
	bomb := func(string) string { panic(errors.New("boom\nwith lines")) }
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"pull", "a/b"}, nil, io.Discard, &stderr, func(k string) string {
		if k == "NOSA_DEBUG" {
			return ""
		}
		return bomb(k)
	})
	if s := stderr.String(); code != exitFailed || strings.Count(s, "\n") != 1 || !strings.Contains(s, "boom; with lines") || !strings.Contains(s, "report") {
		t.Errorf("code %d, %q", code, s)
	}
	stderr.Reset()
	run(t.Context(), []string{"pull", "a/b"}, nil, io.Discard, &stderr, func(k string) string {
		if k == "NOSA_DEBUG" {
			return "1"
		}
		return bomb(k)
	})
	if !strings.Contains(stderr.String(), "main_test.go") {
		t.Errorf("NOSA_DEBUG shows no stack: %q", stderr.String())
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	var stdout, stderr bytes.Buffer
	env := map[string]string{"NOSA_HOME": t.TempDir(), "HF_ENDPOINT": "http://127.0.0.1:1"}
	code := run(ctx, []string{"pull", "a/b"}, strings.NewReader(""), &stdout, &stderr, func(k string) string { return env[k] })
	result{code, stdout.String(), stderr.String()}.refused(t, exitFailed, "nosa: interrupted")
}

// command is nosa as a process.
func command(t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append([]string{"NOSA_TEST_MAIN=1", "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	return cmd
}

// TestSignals: the first interrupt ends a pull with one line, at once.
func TestSignals(t *testing.T) {
	asked := make(chan struct{}, 16)
	url := hangingServer(t, asked)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		var stderr bytes.Buffer
		cmd := command(t, []string{"HF_ENDPOINT=" + url}, "pull", "a/b")
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-asked
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || stderr.String() != "nosa: interrupted\n" {
			t.Errorf("%v: ended with %v, %q", sig, err, stderr.String())
		}
	}
}

// TestClosedPipe: `nosa … | head` ends without a word.
func TestClosedPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	var stderr bytes.Buffer
	cmd := command(t, nil, "version")
	cmd.Stdout, cmd.Stderr = w, &stderr
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err == nil || stderr.String() != "" {
		t.Errorf("ended with %v, %q", err, stderr.String())
	}
}
