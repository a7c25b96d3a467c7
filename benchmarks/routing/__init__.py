"""Replays of recorded outcomes: the sets, who plays them, and what their choices come to."""
