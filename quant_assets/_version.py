"""The version of the package, for everything below it that records which code has run."""

__version__ = "0.1.0"
