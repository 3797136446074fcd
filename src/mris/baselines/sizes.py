"""What all networks here share: which sizes and widths can work, and the last step to the target's size."""

from torch import nn

from mris.errors import SettingsError

Size = tuple[int, int]
"""Rows and columns of an image."""


def check_size(size: Size, divisor: int, network: str) -> None:
    """Refuse images that a network cannot halve as often as it must.

    Args:
        size: rows and columns of the source.
        divisor: what both must be a multiple of.
        network: the network's name, for the message.

    Raises:
        SettingsError: a side is not a positive multiple of `divisor`.

    Example:
        >>> check_size((64, 48), 16, "U-Net")
    """
    if any(side < divisor or side % divisor for side in size):
        raise SettingsError(
            f"{network}: sources have {size[0]} x {size[1]} pixels; both sides must be multiples of {divisor}; "
            "prepare the cohort with such a source size"
        )


def check_width(width: int, name: str) -> None:
    """Refuse a number of channels that convolutions on a CPU cannot be trusted with.

    Raises:
        SettingsError: `width` is not a positive multiple of 8 (docs/decisions/0003).

    Example:
        >>> check_width(16, "width")
    """
    if width < 8 or width % 8:
        raise SettingsError(f"{name} is {width}; it must be a positive multiple of 8, such as 16")


def build_resizer(size: Size, target_size: Size) -> nn.Module:
    """Build the last step of a network: bilinear to the target's size, or nothing where sizes agree.

    Args:
        size: rows and columns that the network ends in.
        target_size: rows and columns of the target.

    Returns:
        A module of ``(n, r, *size)`` to ``(n, r, *target_size)``.

    Example:
        >>> build_resizer((64, 64), (64, 64))
        Identity()
    """
    if size == target_size:
        return nn.Identity()
    return nn.Upsample(size=target_size, mode="bilinear", align_corners=False)
