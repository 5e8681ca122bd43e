// Package trace sends spans to a collector in OpenTelemetry's protocol, OTLP over HTTP
// with JSON. It knows spans and nothing of what they are of.
//
//	context.go  who a span is and whose child: W3C's traceparent, and what is sampled
//	config.go   OTEL_… in the environment
//	export.go   a bounded queue, batches, retries
//	encode.go   spans as OTLP writes them in JSON
//
// It is written here and not taken from the SDK because of what that brings: with its
// exporter over HTTP a server of two lines grows from 8.3 to 20.6 MB and needs 22 modules,
// gRPC and protocol buffers among them. Nothing of it runs where nothing is configured.
package trace
