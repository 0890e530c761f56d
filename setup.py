"""Refuses a checkout from which no whole package can be made. All else is in setup.cfg and pyproject.toml."""

from pathlib import Path

from setuptools import setup

if not Path("quant_assets/resources/__init__.py").is_file():
    raise SystemExit(
        "error: quant_assets/resources is no link to ../resources in this checkout; make it one: "
        "git config core.symlinks true && git checkout -- quant_assets/resources "
        "(on Windows in developer mode), or install from a wheel"
    )
setup()
