"""The Dagster assets, one module a table. They wire: market logic is in `market`, fetching in `ingest`."""
