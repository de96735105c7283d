"""Post-processing: which of a detector's boxes are reported, and what that is worth."""
