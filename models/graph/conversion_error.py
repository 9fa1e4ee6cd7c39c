"""The error of a network that cannot become another file, or be read from one."""


class ConversionError(ValueError):
    """A format cannot express the network, or a file does not compute what its source does."""
