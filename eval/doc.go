// Package eval asks a model, or a server of the OpenAI API, the questions of long-context benchmarks, and measures what only the
// engine can tell: the loss by position, which blocks stay in their slots, and how far a method's predictions are from full attention's.
//
//	draws.go                 chance: a seed, and nothing else, says what is asked
//	task.go tasks.go         what a task is; the tasks by name
//	niah.go vartrack.go words.go qa.go ruler.go       RULER's thirteen
//	grid.go passkey.go       the NIAH grid; InfiniteBench's passkey and key-value retrieval
//	longbench.go             LongBench, LongBench-E and v2 from local files
//	match.go f1.go rouge.go similar.go classes.go     the published scores
//	perplexity.go fidelity.go mass.go locality.go pool.go   what is measured inside an engine
//	local.go remote.go       who answers: an engine, or a server
//	run.go records.go        what is left to do, side by side; a line of JSON for each sample, so that a rerun goes on
//	summary.go table.go      what it comes to
//
// A sample depends on the seed, its task, its length and its number, and on the texts it is made of, and not on the machine, on
// other samples or on what has been asked before. Generators take their chance from a Draws, so that a test can hand them the
// draws that a benchmark's own code made and expect that code's prompt, byte for byte.
//
// The prompts are the benchmarks', word for word, since their wording is a part of what is measured: RULER's (NVIDIA, Apache 2.0)
// in ruler.go and niah.go, InfiniteBench's (OpenBMB, MIT) in passkey.go; LongBench's (THUDM, MIT) are read from its own files. The
// code is ours, and so are the words that prompts are filled with.
//
// The room draws no pictures (tools/ploteval does), prints nothing, and knows no flags.
package eval
