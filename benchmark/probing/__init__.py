"""Which input contract a network was trained with, found by trying the usual ones on faces."""
