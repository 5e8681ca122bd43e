// Package hub brings models from a Hugging Face hub, or a mirror of one, into a store on disk, and finds them there.
//
// It speaks the hub's own protocol over net/http: a manifest of one revision from the API, then each file from its
// resolve address, which answers itself or redirects to a content network. Nothing that a server says is believed
// without a check: names are held against a pattern and stay inside the store, sizes are bounded, and a file gets its
// final name only after its SHA-256 (large files) or git object id (small ones) was right.
//
//	<dir>/models/<owner>/<name>/lock                one pull of a model at a time, over all processes
//	                            refs/<revision>     the commit that a branch or tag meant when it was last pulled
//	                            <commit>.json       record: the files of that commit which are here and verified
//	                            <commit>/…          the files, under their own names: a folder for weights.Open
//	                            partial/<digest>.partial   what has arrived of a file, by the digest it must get
//
// A partial file is named by the digest of what it is to become. So an interrupted pull resumes where it stopped, and
// a file that changed at the hub begins anew, because its digest is another. Files that two commits share are one file
// on disk.
//
// The package reads no environment by itself (FromEnv does, when asked) and keeps no global state. It knows nothing of
// tensors or tokens: what a model's files mean is for the rooms that open them. It needs flock and statfs, so it
// builds on Unix systems.
package hub
