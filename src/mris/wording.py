"""How counts and lists are told in messages."""

from collections.abc import Sequence


def counted(count: int, noun: str) -> str:
    """Write a count and what is counted, which is singular where there is one.

    Example:
        >>> counted(1, "study"), counted(2, "study"), counted(1200, "pair")
        ('1 study', '2 studies', '1,200 pairs')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def first_of(names: Sequence[str], most: int = 5) -> str:
    """Join the first names, and say how many more there are.

    Example:
        >>> first_of(["a", "b"]), first_of(["a", "b", "c"], most=2)
        ('a, b', 'a, b and 1 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
