"""What the models cost and where they look."""
