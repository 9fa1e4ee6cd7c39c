"""ONNX graphs: read safely, viewed, and adopted as networks that embed one face."""
