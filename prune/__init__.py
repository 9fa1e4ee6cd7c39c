"""Stage 1: a smaller embedder that still embeds like the original."""
