"""Emulated ARM64 cores: what a .tflite file executes on a phone, counted."""
