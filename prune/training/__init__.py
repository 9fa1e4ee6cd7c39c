"""How a cut network learns its embeddings back."""
