"""Cohorts and encoders as those of the evaluation."""

from tests.evaluation.conftest import encoder, knees, make_cohort

__all__ = ["encoder", "knees", "make_cohort"]
