"""Where mlport keeps its own small state: journals, rollouts, monitors, labels, leases."""
