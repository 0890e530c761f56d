"""`python -m quant_assets.cli`."""

from quant_assets.cli.app import main

main()
