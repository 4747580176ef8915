"""What stands behind the role of models: requests, records, files."""
