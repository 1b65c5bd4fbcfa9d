"""The whole method on a matrix in which every influence is known: what it would have given for a few labels."""
