// Package client asks servers of the OpenAI API, ours and others', for answers in
// pieces.
//
//	client.go  a server: its address, key and models; a question and what comes back
//	stream.go  an answer: pieces of text, the time at which each came, the end, usage
//	sse.go     server-sent events, read from whatever a server sends
//	errors.go  refusals, in the server's words
//
// A server is not trusted: lines, events, bodies and the number of events are bounded,
// and what it sends is handed on as data. To make text fit for a terminal is the
// caller's. The room imports nothing of nosa and keeps no statistics.
package client
