"""Stepping: a recorded run that can be walked forwards, backwards, and down through every layer."""
