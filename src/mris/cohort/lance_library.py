"""Lance, the only way in: a command must not wait for pandas, which it never uses."""

from mris.quiet import without_pandas

with without_pandas():
    import lance
    import lance.fragment

__all__ = ["lance"]
