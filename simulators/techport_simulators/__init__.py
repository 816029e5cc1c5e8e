"""Simulated devices for Trondheim, their faults with the truth beside them, and replay of recorded data over MQTT."""
