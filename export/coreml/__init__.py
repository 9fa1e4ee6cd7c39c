"""Core ML: writing .mlpackage folders, and evaluating them on any operating system."""
