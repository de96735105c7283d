"""Everything that draws: figures, boxes on pictures, episodes and videos. matplotlib is imported here alone, when a figure is drawn."""
