"""Cohorts: pairs of images with subject, timepoint, side and labels; check, split, prepare, load."""
