"""Faults while the program works, and what is left of its results afterwards (`make soak`)."""
