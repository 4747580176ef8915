"""What was billed (FOCUS files), and how it agrees with an estimate."""
