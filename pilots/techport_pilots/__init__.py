"""The pilot and its registry: definitions, devices, streams, vocabulary and the books of every message."""
