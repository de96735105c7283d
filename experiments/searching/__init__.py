"""The search that methods' settings come from: its configuration, its runs, its rungs, and what comes of it."""
