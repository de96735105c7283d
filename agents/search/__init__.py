"""What a search may try and what it tries next: spaces of settings, strategies, halving, and their scores."""
