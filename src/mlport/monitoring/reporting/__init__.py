"""A monitor's report: readings over time, and the newest window in full."""
