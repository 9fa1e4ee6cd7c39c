"""Stage 2: one ONNX graph, and from it the files that phones run, each checked against its source."""
