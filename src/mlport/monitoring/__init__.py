"""Monitors: windows of captured traffic held against a reference, who is told, and retraining by a policy."""
