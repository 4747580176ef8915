"""What is kept: files, objects, grants."""
