"""Emulated ARM64 cores: the instructions that a .tflite file executes on a phone, counted."""
