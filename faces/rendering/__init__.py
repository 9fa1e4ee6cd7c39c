"""The renderer of synthetic faces: photos of people who do not exist."""
