"""The digital knee cohort: persons, cartilage, bones in contact, and the radiograph of the bones alone."""

from mris.knee.phantom.cohort import PhantomReport, write_phantom
from mris.knee.phantom.simulate import KneeVisit, simulate_subject

__all__ = ["KneeVisit", "PhantomReport", "simulate_subject", "write_phantom"]
