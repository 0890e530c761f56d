"""What lies in the store: key layout, Parquet format, manifest, daily reads, lineage, and the records of runs."""
