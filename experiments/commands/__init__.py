"""The commands that compare and plot."""
