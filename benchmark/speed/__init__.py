"""Latency on this machine: files timed in processes of their own, and what layers cost."""
