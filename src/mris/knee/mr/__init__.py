"""From the MR scan of a knee to its tissues, and digital scans to train and test on.

The road of a scan: `series` (and `slices`), `resample`, `sliding` with a `model`, `segment`, `doubts`, and `folder`
with `overlays`. The road of a digital one: `knee_shape`, `shapes`, `dress`, `appearance`, `phantom_scans`.
"""
