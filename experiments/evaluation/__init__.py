"""`mapopt evaluate`: a detector's results from all sides, printed, stored and drawn, and compared with another's."""
