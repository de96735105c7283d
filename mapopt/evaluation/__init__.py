"""A detector's results from all sides: measured, put into tables, printed and stored."""
