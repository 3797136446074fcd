"""The color maps of all pictures, by Matplotlib's names. Imports nothing heavy: pictures are drawn by few commands."""

VALUE_COLORS = "viridis"
"""Of target values."""
ERROR_COLORS = "inferno"
"""Of errors and spreads."""
BIAS_COLORS = "RdBu_r"
"""Of signed errors; white is none."""
