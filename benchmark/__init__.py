"""Stage 3: size, latency and verification accuracy of the files that ship, and the report."""
