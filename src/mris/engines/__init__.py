"""Where work on many items is done: in this process, or on a Ray cluster.

The names that other rooms may use:

- ``mris.engines.engine``: `Engine`, `in_this_process`
- ``mris.engines.on_ray``: `on_ray`
"""
