"""The model server: one process that answers for one model, over HTTP, in the dialects that clients already speak.

`python -m mlport.serving MODEL_DIR --port 8080` serves an MLflow model folder. It speaks the Open Inference
Protocol V2, MLflow's scoring protocol, and the container contracts of hosted services, see `app`.

A request goes through these rooms: `http1` reads it, `app` finds its dialect (`scoring`, `openinference`),
`signature` turns its rows into tuples of the declared types, `batching` scores whatever has gathered since the last
time, `flavors` is the model, `answers` writes the reply, and `mlport.capture.spool` keeps both before it is sent.

Importing this package imports nothing heavy; only the server's own process loads numpy, MLflow and the model.
"""
