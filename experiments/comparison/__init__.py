"""A comparison: its configuration, the jobs that run it, the store that keeps it, and the search of its settings."""
