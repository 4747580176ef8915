"""Vertex AI's model monitors: their requests, the reference they are given, and what they found."""
