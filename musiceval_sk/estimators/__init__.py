"""Estimators of scikit-learn's kind: vectors in, scores out."""
