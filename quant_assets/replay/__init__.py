"""A loopback server that speaks Yahoo's protocol from recorded or generated history, with faults.

Start it from a program with `quant_assets.replay.launch.start`, from a shell with
`python -m quant_assets.replay`. Importing this package does no work.
"""
