"""The errors this package raises on purpose. Each message names the cause and the remedy."""

from quant_assets.errors import QuantAssetsError


class ReplayError(QuantAssetsError):
    """Anything the replay server refuses: a bad file, a bad fault, a taken port, a server that died."""


class HistoryError(ReplayError):
    """A history that cannot be true: bad file, unknown exchange, the same symbol twice."""


class FaultError(ReplayError):
    """A fault description that cannot be understood."""


class LaunchError(ReplayError):
    """The server could not be started, or went away."""
