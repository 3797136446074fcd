"""Bundles of simulated people alone: the whole road from the phantom to a bundle.

What other rooms and users import from here; all else is private to the room:

- ``mris.digital.knees``: `DigitalKnees`, `make_digital_knees`
- ``mris.digital.packaged``: `FOLDER`, `bundle_folder`, `digital_knees`
"""
