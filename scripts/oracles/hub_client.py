"""Downloads a model from a hub at HF_ENDPOINT with the hub's own client, huggingface_hub.

hub/hubtest/client_test.go starts its test hub and runs this: what the reference client accepts as a hub, and finds
right to the byte, is a hub that package hub may be tested against.

    go test ./hub/hubtest -run TestReferenceClient -python /path/to/python   (with huggingface_hub installed)

usage: hub_client.py MODEL REVISION DIR
"""
import sys

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

model, revision, folder = sys.argv[1:4]
info = HfApi().model_info(model, revision=revision, files_metadata=True)
for s in info.siblings:
    print("file", s.rfilename, s.size, s.lfs.sha256 if s.lfs else s.blob_id)
print("commit", info.sha)
for s in info.siblings:
    hf_hub_download(model, s.rfilename, revision=revision, local_dir=folder)

for what, want in {
    ("org/none", "main", "x"): RepositoryNotFoundError,
    (model, "none", "x"): RevisionNotFoundError,
    (model, revision, "none"): EntryNotFoundError,
    ("org/gated", "main", "config.json"): GatedRepoError,
}.items():
    try:
        hf_hub_download(what[0], what[2], revision=what[1], local_dir=folder + "-refused", token="hf_x")
        print("refused", "nothing", what)
    except Exception as e:
        cause = e if isinstance(e, want) else e.__cause__
        print("refused" if isinstance(cause, want) else "odd", want.__name__, type(e).__name__, str(e).splitlines()[0])
