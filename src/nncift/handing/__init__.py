"""Handing over: the chosen rows in a trainer's own format, the piece of its configuration, and a dataset card."""
