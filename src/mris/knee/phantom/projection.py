"""Path lengths of a diverging beam through bodies made of columns, exact in depth up to straight lines between samples.

All rays through one thin slice of depth see a column's beginning and end as two steps on the detector. A slice's two
faces lie at slightly different heights, so a step is a short ramp: its two corners are written into an array of second
differences, and two running sums along z give the attenuation of every pixel at once.
"""

import numpy as np
from jaxtyping import Float

from mris.knee.phantom.bones import Body, Grid
from mris.knee.phantom.view import View

Plane = Float[np.ndarray, "h w"]

MARGIN = 1.16
"""The canvas is larger than the picture, so that roll and shift bring in anatomy, not emptiness."""
_LEAST_RAMP_PX = 0.5


class Canvas:
    """A detector that sums attenuation, body after body.

    Args:
        size: Rows and columns of the picture; the canvas has `MARGIN` times as many.
        view: The beam.
        joint_height: Height (mm) of the joint centre over the tibial plateau, in the middle of the canvas.
    """

    def __init__(self, size: int, view: View, joint_height: float) -> None:
        self.n = int(np.ceil(size * MARGIN / 2.0)) * 2
        self.pitch = view.field_mm / size
        self._view = view
        self._joint = joint_height
        self._distance = view.source_mm + view.detector_mm
        # A picture is scaled to the knee's middle; `zoom` is the error of that scale.
        self._step = self.pitch * view.zoom * self._distance / view.source_mm
        self._u = (np.arange(self.n) + 0.5 - self.n / 2) * self._step
        self._at: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []

    def window(self, low: float, high: float) -> slice:
        """Detector columns that show anything between two positions (mm) across the knee, for small bodies."""
        turn = abs(np.sin(np.deg2rad(self._view.rotation))) * 50.0
        widest = self._distance / (self._view.source_mm - 50.0)
        narrowest = self._distance / (self._view.source_mm + 50.0)
        low, high = low - turn, high + turn
        first = np.searchsorted(self._u, min(low * widest, low * narrowest))
        last = np.searchsorted(self._u, max(high * widest, high * narrowest))
        return slice(max(int(first) - 1, 0), min(int(last) + 1, self.n))

    def columns(self, y: Float[np.ndarray, " d"], window: slice = slice(None)) -> tuple[Grid, Grid]:
        """Coordinates (x, y) in the knee of detector columns at each depth, the leg's rotation undone."""
        x = self._u[None, window] * ((self._view.source_mm + y[:, None]) / self._distance)
        angle = np.deg2rad(self._view.rotation)
        return np.cos(angle) * x + np.sin(angle) * y[:, None], np.cos(angle) * y[:, None] - np.sin(angle) * x

    def add(self, body: Body, y: Float[np.ndarray, " d"], attenuation: float, window: slice = slice(None)) -> None:
        """Add a body, sampled at evenly spaced depths ``y`` (mm) on a window's columns, of that attenuation per mm."""
        full = body.upper > body.lower
        slices, columns = np.nonzero(full[:-1] | full[1:])
        weight = attenuation * float(y[1] - y[0])
        first_column = window.start or 0
        for surface, sign in ((body.upper, weight), (body.lower, -weight)):
            rows = self._rows(surface, y)
            self._ramp(rows[slices, columns], rows[slices + 1, columns], columns + first_column, sign)

    def total(self) -> Plane:
        """Attenuation of every pixel of the canvas."""
        shape = (self.n + 3, self.n)
        at, weights = np.concatenate(self._at), np.concatenate(self._weights)
        corners = np.bincount(at, weights=weights, minlength=shape[0] * shape[1]).reshape(shape)
        return np.asarray(corners.cumsum(axis=0).cumsum(axis=0)[: self.n])

    def _rows(self, z: Grid, y: Float[np.ndarray, " d"]) -> Grid:
        """Detector row (0 at the upper border) of points at height z; the central ray goes through the joint centre."""
        source = self._view.source_mm * np.tan(np.deg2rad(self._view.beam_tilt))
        magnification = self._distance / (self._view.source_mm + y[:, None])
        v = (z - self._joint - source) * magnification + source * self._distance / self._view.source_mm
        return np.asarray(np.clip(self.n / 2 - v / self._step, 0.0, self.n))

    def _ramp(
        self, first: Float[np.ndarray, " p"], second: Float[np.ndarray, " p"], columns: np.ndarray, weight: float
    ) -> None:
        middle, half = 0.5 * (first + second), np.maximum(0.5 * np.abs(first - second), 0.5 * _LEAST_RAMP_PX)
        slope = weight / (2.0 * half)
        for corner, rise in ((middle - half, slope), (middle + half, -slope)):
            row = corner + 0.5  # a pixel is its middle
            whole = row.astype(np.intp)
            part = rise * (row - whole)
            at = whole * self.n + columns
            self._at += [at, at + self.n]
            self._weights += [rise - part, part]
