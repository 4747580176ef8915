"""The work itself: runs, served models."""
