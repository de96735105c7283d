"""The commands that compare, plot and measure."""
