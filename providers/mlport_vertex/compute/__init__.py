"""Machine types, and Google's images."""
