"""Which channels go together, which of them go, and the cut itself."""
