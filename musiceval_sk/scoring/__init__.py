"""Scores of new clips, their error and limits."""
