"""TFLite: writing, quantising and running .tflite files, without TensorFlow."""
