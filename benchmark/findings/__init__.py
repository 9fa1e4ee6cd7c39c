"""Rows about each file on faces: differences, transfer, templates, slices and more."""
