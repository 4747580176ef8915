"""What does the work: pods, containers, builds, studies, batches, schedules."""
