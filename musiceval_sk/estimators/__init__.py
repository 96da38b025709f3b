"""Predictors of mean opinion scores. They never open a sound file."""
