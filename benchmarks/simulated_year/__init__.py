"""A year of daily updates on the replay server's clock, and everything that goes wrong in it."""
