"""Measurements, and what carries their figures into the README."""
