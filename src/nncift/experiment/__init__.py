"""Grids of ordinary runs from a recipe: cells that are resumed one by one, planned before anything is spent, and tabulated."""
