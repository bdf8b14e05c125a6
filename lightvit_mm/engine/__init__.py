"""Runners, datasets and optimizer constructors."""
