// Package builtin has the model that is inside the binary: a small nosa, trained by nosa train on books in the public domain, so
// that the first command needs no download.
//
//	scripts/train/builtin.toml ─ nosa train ─ checkpoint ─ scripts/train/builtin ─ model/builtin.gguf ─ go build ─ Open
//
// The folder model has the file, builtin.json, which says how it was made, and README.md with the licences of its texts. All of it
// is embedded. A binary that is to be 19 MB smaller is built without builtin.gguf: Open then says so.
//
// This is not the place of anything that knows what kind of model it is: it is a checkpoint like others.
package builtin
