"""Metrics, scorers, splits and studies."""
