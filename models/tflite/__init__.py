"""A .tflite file as a source: its tables, and its graph as ONNX."""
