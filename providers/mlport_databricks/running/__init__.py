"""What stands behind the roles of jobs and sweeps: requests, records, logs, packages."""
