"""How far reads, derived tables and Dagster's bookkeeping are from what the machine can do, at full size."""
