"""Training agents with stable-baselines3."""
