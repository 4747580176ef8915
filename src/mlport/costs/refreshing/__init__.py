"""Newer prices from the official sources: fetched, compared with those in force, and put in their place if they look right."""
