"""Object detection from scanty labels."""

__version__ = "0.1.0"
