"""`python -m quant_assets`: the command line."""

from quant_assets.cli.app import main

main()
