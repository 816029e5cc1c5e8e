"""Alerts: what needs somebody, told once when it begins and once when it is over."""
