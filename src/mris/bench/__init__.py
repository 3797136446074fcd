"""What this machine gives, beside the bare operation of each kind: whether an installation is sound.

What other rooms and users import from here; all else is private to the room:

- ``mris.bench.measured``: `Measured`
- ``mris.bench.queries``: `measure_queries`
- ``mris.bench.training``: `measure_training`
"""
