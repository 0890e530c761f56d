"""From a price source to daily cells: plan what is missing, fetch it, write it. No Dagster here."""
