"""The pilot and its registry: definitions, devices, streams, vocabulary and the ledger of every message."""
