"""What every page shares: a shell with contents and style, headline numbers, pictures and tables, all inside it."""

from base64 import b64encode
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mris.reporting import figures, tables

_TEMPLATES = Environment(
    loader=PackageLoader("mris.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


@dataclass(frozen=True)
class Picture:
    """A figure ready for a page.

    Args:
        name: File name without suffix.
        data: PNG bytes.
        alt: What it shows, for who cannot see it.
        caption: What it means.
        dpi: Pixels an inch of the figure.
    """

    name: str
    data: bytes
    alt: str
    caption: str
    dpi: int = figures.DPI

    @property
    def uri(self) -> str:
        """The picture itself, as a data URI."""
        return "data:image/png;base64," + b64encode(self.data).decode("ascii")

    @property
    def width(self) -> int:
        """Width on a page in CSS pixels (96 an inch), so that letters of all figures are equally large."""
        return round(int.from_bytes(self.data[16:20], "big") * 96 / self.dpi)


@dataclass(frozen=True)
class Card:
    """One headline number.

    Args:
        value: The number, as text.
        caption: What it says.
    """

    value: str
    caption: str


def table_markup(table: tables.Table) -> Markup:
    """Write a table for a page."""
    return Markup(tables.html(table))  # tables.html escapes every text


def render_page(template: str, **values: object) -> str:
    """Fill a page: one HTML text with style and images inside, no scripts, no links outward.

    Args:
        template: Name of a template that extends ``page.html``.
        values: What it shows; among it `cards`, and `contents` (anchor and title of each section) unless the template
            sets them.
    """
    return _TEMPLATES.get_template(template).render(values)
