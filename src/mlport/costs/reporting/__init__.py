"""A comparison for people: words, charts, one HTML page."""
