"""The outside world: price source, object store, manifest, settings, and the IO managers over them."""
