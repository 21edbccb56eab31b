"""Measurements, and what writes their figures into RESULTS.md."""
