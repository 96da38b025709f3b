"""Settings of tests of properties: few examples, the same ones in every run."""

from hypothesis import settings

few = settings(max_examples=25, derandomize=True, deadline=None)
fewer = settings(few, max_examples=10)  # of what takes a tenth of a second or so
