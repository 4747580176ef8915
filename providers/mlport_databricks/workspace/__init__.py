"""The way to a workspace: its connection, its errors, its files."""
