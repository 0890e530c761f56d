"""The HTTP API: what the reader and the command line do, over the network.

`app.py` puts the parts together; a module of routes for each: data, jobs, cache, health, page. All share who may
(`access.py`), how errors are answered (`problems.py`) and how frames are (`answers.py`).
"""
