"""Monitors by data profiling of Unity Catalog: what is asked for, how it is made, and how its tables are read."""
