"""What runs leave on record beside the tables: restatements, quarantined bars, fetch reports."""
