"""How counts are told in messages."""


def counted(count: int, noun: str) -> str:
    """Write a count and what is counted, which is singular where there is one.

    Example:
        >>> counted(1, "study"), counted(2, "study"), counted(1200, "pair")
        ('1 study', '2 studies', '1,200 pairs')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
