package main

import (
	"context"
	"log/slog"
)

// LogFlags say how a server logs.
type LogFlags struct {
	Format  string `name:"log-format" default:"text" enum:"text,json" placeholder:"FORMAT" help:"Of the log on stderr: text or json (${default}); with json nothing else is written there."`
	Level   string `name:"log-level" default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Least level that is logged: debug, info, warn or error (${default})."`
	Prompts bool   `name:"log-prompts" help:"Log the first 4 KiB of each prompt and answer, which otherwise are in no log."`
}

// logger makes the log; with JSON, notes for people are none.
func (f *LogFlags) logger(g *Globals) *slog.Logger {
	if g.Quiet {
		return g.Log
	}
	var o slog.HandlerOptions
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.Level)) // is one of those above
	if o.Level = level; g.Log.Enabled(context.Background(), slog.LevelDebug) {
		o.Level = slog.LevelDebug // --verbose
	}
	if f.Format == "json" {
		g.Quiet, g.Log = true, slog.New(slog.NewJSONHandler(g.Stderr, &o))
		return g.Log
	}
	return slog.New(slog.NewTextHandler(g.Stderr, &o))
}

// tell says what becomes of the server: in a note to people, or in the log that
// programs read.
func (f *LogFlags) tell(g *Globals, log *slog.Logger, note, message string, args ...any) {
	if f.Format == "json" {
		log.Info(message, args...)
		return
	}
	g.note("%s", note)
}
