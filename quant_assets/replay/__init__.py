"""A loopback server that speaks Yahoo's protocol from recorded or generated history, with faults."""
