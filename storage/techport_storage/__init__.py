"""Time-series storage: readings in, columns out. See storage/README.md."""
