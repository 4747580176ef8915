"""Model Serving: requests, whole configurations, records, and what passes through."""
