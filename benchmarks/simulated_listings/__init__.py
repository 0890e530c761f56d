"""Years of listings, delistings, renames, suspensions and reuse, against the truth."""
