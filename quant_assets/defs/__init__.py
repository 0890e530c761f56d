"""Everything that is Dagster: a module a concept, and a module a table under `assets`. Wired in `definitions`."""
