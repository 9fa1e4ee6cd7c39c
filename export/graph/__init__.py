"""The ONNX graph that every format is made from, and what rewrites it."""
