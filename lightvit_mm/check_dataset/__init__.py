"""Checks the data of a config before training."""
