"""From an MQTT message to a stored reading or a quarantine entry. See ingest/README.md; the flow is pipeline.run()."""
