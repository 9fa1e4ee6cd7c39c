"""Verification and identification: error rates, their intervals, and what may be said of two files."""
