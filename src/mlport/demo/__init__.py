"""The demo: a whole lifecycle on real flights, on any profile."""
