"""Prices of a store in the forms that other tools read: CSV, DuckDB, qlib's binary format, a zipline bundle."""
