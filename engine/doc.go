// Package engine turns requests into steps: it opens a model, plans its memory,
// cuts prompts into chunks, samples, decodes text and ends sequences.
//
// source.go reads what a checkpoint says of itself, plan.go fits it into memory
// before anything is allocated, engine.go owns model and store. step.go runs one step,
// stream.go holds sequences open between steps, parts.go puts pieces of several into
// one. choice.go draws what follows, with penalties.go and stop.go. generate.go and
// score.go are requests that have the engine to themselves; service.go runs many side
// by side, scheduler.go says in what order, answer.go is what their callers see, look.go
// what others may see of them.
//
// The package knows no JSON of an API, no layer of a model and no tier of the
// store: those are server's, model's and kv's.
package engine
