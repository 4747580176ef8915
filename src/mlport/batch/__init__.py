"""Batch scoring: files larger than memory in, Parquet out, with the model that an endpoint would serve.

`python -m mlport.batch REQUEST.json` reads what `request.Request` describes. Inputs are streamed, `batch_rows` at a
time; the output folder appears whole, with `_SUCCESS` in it, or not at all. Parts that a killed run has finished are
kept, under `MLPORT_CHECKPOINT_DIR` where that is set, and the next run goes on after them.

Importing this package imports nothing heavy.
"""
