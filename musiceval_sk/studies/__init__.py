"""Models, splits and targets judged in one table."""
