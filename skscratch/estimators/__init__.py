"""Estimators with scikit-learn's interface, over the core."""
