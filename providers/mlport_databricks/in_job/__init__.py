"""What goes with a job into its container: standard library only, Python 3.8 or newer, packed beside the runner."""
