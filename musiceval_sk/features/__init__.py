"""The feature stage: decode, window, embed, keep. It never sees a score."""
