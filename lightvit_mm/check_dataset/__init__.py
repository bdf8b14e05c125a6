"""Looks for what is wrong with the data of a config before it trains."""
