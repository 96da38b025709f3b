"""Ratings as other programs export them: one short reader a format, found by what the file holds."""

from musiceval_sk.ratings.formats.export import FORMATS
from musiceval_sk.ratings.formats.read import read_ratings

__all__ = ["FORMATS", "read_ratings"]
