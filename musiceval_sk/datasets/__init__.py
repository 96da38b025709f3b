"""Tables of clips."""
