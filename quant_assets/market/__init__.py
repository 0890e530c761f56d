"""Pure market logic on polars frames: no Dagster, no input or output, no clock."""
