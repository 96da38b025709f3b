"""Numbers only: metrics, their intervals and tests, and what brings scores into one order."""
