"""The MusicEval corpus as it is published."""
