"""Endpoints at work: the router that callers reach, the keeper that keeps it and its workers alive, and their records."""
