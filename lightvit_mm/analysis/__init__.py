"""Cost, speed and attention maps of models."""
