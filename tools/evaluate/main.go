// Command evaluate measures trained models and sets them beside each other: the loss of held-out texts by position, retrieval of
// needles, and how often the blocks that a query selects are still in their slots, for pools of several sizes.
//
//	go run ./evaluate measure -o RESULTS -vocabulary FOLDER -texts SET -device cuda NAME=FOLDER:METHOD …
//	go run ./evaluate report -o ../docs/plots RESULTS/*.json > table.md
//
// measure writes RESULTS/NAME.json, one for each model, after each of its parts (-parts loss,needles,pools); a part that the file has
// from the same settings is not measured again. report writes the table to stdout, and the plots.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "evaluate: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "measure":
			return measureCommand(ctx, args[1:], stderr)
		case "report":
			return reportCommand(args[1:], stdout, stderr)
		}
	}
	return fmt.Errorf("say measure or report, and -h after it for the rest")
}

// parse reads flags, and refuses to go on without arguments behind them.
func parse(f *flag.FlagSet, args []string, stderr io.Writer, what string) error {
	f.SetOutput(stderr)
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() == 0 {
		return fmt.Errorf("%s: name %s", f.Name(), what)
	}
	return nil
}
