"""Predicts on images and videos; draws the results and writes them to a file."""
