"""Training again: whether it is due, each step of it, and the gate at its end."""
