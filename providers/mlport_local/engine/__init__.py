"""The job engine: a queue in a table, supervisors that come and go, one attempt after another."""
