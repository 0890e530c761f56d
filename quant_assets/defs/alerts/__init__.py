"""Alerts: what is late, missing, held or broken, found from the store and Dagster's runs, and told once to the
channels that the settings name. `found` and `decisions` are plain functions; `watch` reads, decides and delivers."""
