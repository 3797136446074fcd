"""How counts are told in messages, and texts written in figures."""


def counted(count: int, noun: str) -> str:
    """Write a count and what is counted, which is singular where there is one.

    Example:
        >>> counted(1, "study"), counted(2, "study"), counted(1200, "pair")
        ('1 study', '2 studies', '1,200 pairs')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def drawable(text: str) -> str:
    r"""Write a text so that a figure shows it: letters that its font lacks as their codes, dollars as dollars.

    An empty box would stand for any such letter, and what stands between two dollars would be set as a formula.

    Example:
        >>> drawable("José"), drawable("P01 林"), drawable("US$")
        ('José', 'P01 \\u6797', 'US\\$')
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = [get_font(findfont(FontProperties(family=[family]))) for family in FontProperties().get_family()]
    return "".join(
        rf"\{letter}"
        if letter == "$"
        else letter
        if letter == "\n" or any(font.get_char_index(ord(letter)) for font in fonts)
        else letter.encode("ascii", "backslashreplace").decode()
        for letter in text
    )
