// Package load measures a server of the OpenAI API from outside, ours or another's: it
// asks many questions, at a rate or by so many clients, and notes when every piece of
// every answer came.
//
//	Config ─→ Run ─→ warm-up ─→ closed loop: clients, each asks when it has its answer
//	                            open loop:   arrivals, asked when their time has come
//	                        ─→ a Result a question ─→ Report
//
//	mix.go       lengths of prompts and answers: fixed, in a range, or a mixture
//	prompt.go    what is asked: token ids, words, or a text, no two alike
//	arrivals.go  when it is asked in the open loop
//	run.go       the two loops
//	question.go  one question and its answer
//	goal.go      what a good answer is
//	figures.go   means, deviations and percentiles
//	report.go    the figures of a run, in the names of `vllm bench serve`
//
// The same seed asks the same questions at the same times. Times are the client's, at
// the arrival of an event. The room imports client alone, prints nothing and knows no flag.
package load
