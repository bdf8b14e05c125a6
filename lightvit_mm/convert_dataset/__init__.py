"""Converts the datasets of labelling tools into what the own-data runners read."""
