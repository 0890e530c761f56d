"""quant-assets: a Dagster data-asset platform for daily stock prices.

Importing this package does no work: the code location is `quant_assets.definitions`.
"""

__version__ = "0.1.0"
