"""Grids of runs: the paper's tables, its cost table and its studies, cell by cell from a recipe."""
