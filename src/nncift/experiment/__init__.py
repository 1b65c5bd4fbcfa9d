"""Grids of runs, and the tables and figures of what they found."""
