"""techport: the data platform for pilots in a living city. This package is the command line and the wiring."""
