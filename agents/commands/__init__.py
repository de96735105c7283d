"""The commands that need agents: train-agent and watch."""
