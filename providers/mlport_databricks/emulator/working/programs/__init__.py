"""Programs that run for a task, each started by its path."""
