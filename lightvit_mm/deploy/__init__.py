"""Export models to files for other runtimes."""
