"""Cohorts and encoders as those of the evaluation."""

from tests.evaluation.conftest import cohort_of, encoder, knees

__all__ = ["cohort_of", "encoder", "knees"]
