"""Helpers for trying and developing the product: the demo, a storage emulator, the comparison of two stores."""
