"""Machine types with their prices, and Google's images."""
