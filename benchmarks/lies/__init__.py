"""Answers with status 200 that are wrong inside, told for some evenings and taken back: what is stored of them."""
