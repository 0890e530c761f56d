"""Care for a store as a whole: verify it, rebuild its manifest, move it to another home. No Dagster here."""
