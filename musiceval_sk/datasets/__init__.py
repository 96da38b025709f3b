"""Clips, ratings, and listening tests made of nothing."""
