"""The report page: what the store holds, how complete and how fresh it is, in one self-contained HTML file."""
