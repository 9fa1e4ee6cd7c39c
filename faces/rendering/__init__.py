"""The renderer of synthetic faces: rendered identities, nobody's photo."""
