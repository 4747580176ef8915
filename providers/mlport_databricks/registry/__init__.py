"""Unity Catalog's models: requests, files and records."""
