"""The API under load: how fast with which cache, and what is answered while Redis or the bucket is gone."""
