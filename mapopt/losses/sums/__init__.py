"""The machinery below the losses: lists, sums over pairs in O(n log n), and their gradients."""
