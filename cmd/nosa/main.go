// Command nosa runs language models over long contexts with the KV cache in tiers. See the README for what it does, and
// nosa --help for how.
//
// This package is the command line and nothing else: flags, progress, printing and exit codes. Each command is one
// file with a kong struct and a Run method; main.go puts them together.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes, which scripts rely on.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// commands is the command line.
type commands struct {
	JSON    bool `help:"Write one JSON object, or lines of them, to stdout instead of text."`
	Quiet   bool `short:"q" help:"Write nothing to stderr but errors."`
	Verbose bool `short:"v" help:"Write to stderr what happens."`

	Run        RunCmd        `cmd:"" help:"Continue a prompt."`
	Chat       ChatCmd       `cmd:"" help:"Talk with a model, or with a server's."`
	Serve      ServeCmd      `cmd:"" help:"Answer the OpenAI API over HTTP."`
	Score      ScoreCmd      `cmd:"" help:"Tell the log-probability of every token of a text, and its perplexity."`
	Tokenize   TokenizeCmd   `cmd:"" help:"Turn text into token ids, or back."`
	Inspect    InspectCmd    `cmd:"" help:"Tell what is in a model's files."`
	Policies   PoliciesCmd   `cmd:"" help:"List the methods of --policy, which make the KV cache smaller, and their options."`
	Pull       PullCmd       `cmd:"" help:"Bring a model from the Hugging Face hub or a mirror."`
	Bench      BenchGroup    `cmd:"" help:"Measure how fast a model runs on this machine, or a server answers."`
	Eval       EvalCmd       `cmd:"" help:"Ask a model, or a server, the questions of long-context benchmarks."`
	Corpus     CorpusGroup   `cmd:"" help:"Texts to train on: their token ids, and tests of retrieval."`
	Train      TrainCmd      `cmd:"" help:"Train a model, or go on with it, as a file says."`
	Convert    ConvertCmd    `cmd:"" help:"Turn a Hugging Face folder into a GGUF file, or back."`
	Completion CompletionCmd `cmd:"" help:"Print a script that completes nosa's command line in a shell."`
	Version    VersionCmd    `cmd:"" help:"Tell the version, and what this processor can do."`
}

// errInterrupted is the cause of a context that the user ended.
var errInterrupted = errors.New("interrupted")

func main() {
	if os.Getenv("NOSA_DEBUG") == "" {
		debug.SetTraceback("none") // a panic outside of the main goroutine can not be caught: at least it is short
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // lives as long as the process
		<-signals
		cancel(errInterrupted)
		<-signals
		os.Exit(exitFailed)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}

// exited is how kong's --help leaves: with its exit code, through the parser.
type exited int

// faulty is what the Go runtime throws, under SetPanicOnFault, at whoever reads a page of a mapping that the file no
// longer has. A nil pointer is not one.
type faulty interface {
	runtime.Error
	Addr() uintptr
}

// run is the program: arguments in, exit code out.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) (code int) {
	g := &Globals{Stdin: stdin, Stdout: NewOutput(stdout), Stderr: NewOutput(stderr), Getenv: getenv}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a mapped file that is cut short is no reason to crash
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exited:
			code = int(r)
		case faulty:
			g.Stderr.divert(nil)
			g.Stderr.Printf("nosa: a model's file was cut short, or its disk failed, while it was read: leave the file alone while nosa runs, or bring it anew\n")
			if getenv("NOSA_DEBUG") != "" {
				g.Stderr.Printf("%s", debug.Stack())
			}
			code = exitFailed
		default:
			g.Stderr.divert(nil)
			g.Stderr.Printf("nosa: internal error: %s: this is a bug, please report it with the command that you ran (NOSA_DEBUG=1 shows where)\n", oneLine(sprint(r)))
			if getenv("NOSA_DEBUG") != "" {
				g.Stderr.Printf("%s", debug.Stack())
			}
			code = exitFailed
		}
		if err := g.Stdout.Err(); err != nil && code == exitDone {
			g.Stderr.Printf("nosa: writing the output: %v\n", err)
			code = exitFailed
		}
	}()
	var line commands
	parser, err := newParser(&line, g)
	if err != nil {
		panic(err) // the struct above is wrong, not what the user wrote
	}
	if err := checkArgs(args); err != nil {
		return g.fail(err, "nosa --help")
	}
	call, err := parser.Parse(args)
	if err != nil {
		return g.fail(err, helpFor(err))
	}
	g.JSON, g.Quiet = line.JSON, line.Quiet
	g.Log = newLog(g.Stderr, line.Verbose, line.Quiet)
	call.BindTo(ctx, (*context.Context)(nil))
	if err := call.Run(g); err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errInterrupted) && (errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted)) {
			err = errInterrupted
		}
		return g.fail(err, call.Selected().FullPath()+" --help")
	}
	return exitDone
}

// checkArgs refuses arguments that are not UTF-8: the parser would replace the bytes in silence.
func checkArgs(args []string) error {
	for i, arg := range args {
		if err := checkUTF8(fmt.Sprintf("argument %d", i+1), arg); err != nil {
			return &usageError{err}
		}
	}
	return nil
}

// newParser builds kong's parser of the command line.
func newParser(line *commands, g *Globals) (*kong.Kong, error) {
	parser, err := kong.New(line,
		kong.Name("nosa"),
		kong.Description("Language models over long contexts, with the KV cache in tiers."),
		kong.Writers(g.Stdout, g.Stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Help(printHelp),
		kong.TypeMapper(reflect.TypeFor[ByteSize](), kong.MapperFunc(decodeSize)),
	)
	if err != nil {
		return nil, err
	}
	for _, n := range parser.Model.Children {
		if n.DefaultCmd != nil {
			n.DefaultCmd.Name = "" // it is the command above it: no word stands for it, and no file is taken for one
		}
	}
	return parser, nil
}

// printHelp shows, of a command with a default below it, the default's flags.
func printHelp(o kong.HelpOptions, ctx *kong.Context) error {
	if n := ctx.Selected(); n != nil && n.DefaultCmd != nil {
		ctx.Path = append(ctx.Path, &kong.Path{Parent: n, Command: n.DefaultCmd, Flags: n.DefaultCmd.Flags})
	}
	return kong.DefaultHelpPrinter(o, ctx)
}

// decodeSize reads a size flag, so that its error says what a size looks like.
func decodeSize(ctx *kong.DecodeContext, target reflect.Value) error {
	var s string
	if err := ctx.Scan.PopValueInto("size", &s); err != nil {
		return err
	}
	n, err := ParseSize(s)
	if err == nil {
		target.SetInt(int64(n))
	}
	return err
}

// fail prints the one line of an error and gives its exit code.
func (g *Globals) fail(err error, help string) int {
	message := "nosa: " + oneLine(err.Error())
	code := exitFailed
	var parse *kong.ParseError
	if errors.Is(err, errUsage) || errors.As(err, &parse) {
		message += " (see " + help + ")"
		code = exitUsage
	}
	g.Stderr.Printf("%s\n", message)
	return code
}

// helpFor names the help of the command that was not understood.
func helpFor(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if node := parse.Context.Selected(); node != nil {
			return node.FullPath() + " --help"
		}
	}
	return "nosa --help"
}

// oneLine makes an error fit for one line of a terminal, whatever it quotes.
func oneLine(s string) string {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return printable(strings.Join(parts, "; "), 2000)
}
