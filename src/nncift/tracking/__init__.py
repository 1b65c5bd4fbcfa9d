"""Finished runs and evaluations told to an experiment tracker where one is asked for; no result depends on it."""

from nncift.tracking.tell import TRACKERS, check_tracker, track, track_after

__all__ = ["TRACKERS", "check_tracker", "track", "track_after"]
