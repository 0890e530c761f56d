"""What the API and the command line both do to a store, and in whose name: keys, jobs, the audit record."""
