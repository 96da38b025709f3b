"""MuQ and MuQ-MuLan, of their authors' package and checkpoints."""
