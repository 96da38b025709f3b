"""Training of CLAP and its heads from end to end."""
