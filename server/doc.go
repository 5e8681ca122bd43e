// Package server speaks the OpenAI API over HTTP, for one model that an engine.Service
// runs.
//
//	guard.go        who may ask: Host, key, size, kind of body
//	bodies.go       how much of bodies is read, in one and in all
//	connections.go  how many connections there are
//	chat.go         POST /v1/chat/completions
//	arguments.go    chat_template_kwargs
//	completions.go  POST /v1/completions
//	embeddings.go   POST /v1/embeddings
//	generation.go   what the two have in common: parameters, choices, usage
//	stream.go       answers in pieces, as server-sent events
//	tokens.go       POST /tokenize, /detokenize, GET /tokenizer_info
//	models.go       GET /v1/models
//	openapi.go      GET /openapi.json: every path, with the bounds of facts.go and schemas of the Go types by schema.go
//	lists.go        lists and objects in a body, read no further than their bounds
//	messages.go     conversations
//	health.go       GET /healthz, /readyz, /health
//	metrics.go      GET /metrics
//	page.go         GET /, the page that shows the server at work; its files are in page/
//	state.go        GET /nosa/state, POST /nosa/requests/ID/cancel: what the page shows
//	cache.go        GET /nosa/cache: where blocks are
//	account.go      what is known of a request at its end: a line in the log
//	spans.go        the same as spans
//	errors.go       errors as OpenAI's clients know them
//
// What the server does not do is refused with an error that names the parameter, never
// left out in silence.
package server
