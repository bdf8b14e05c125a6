"""Writes the folder of a published model, for ``tools/publish.py``."""
