"""Telling: what is worth it, in which words, and to whom."""
