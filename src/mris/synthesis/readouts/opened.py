"""From the name of a readout to the one that answers: the only place that knows them all."""

from typing import assert_never

from mris.database.database import EmbeddingDatabase
from mris.database.gallery import Gallery
from mris.errors import SettingsError
from mris.synthesis.readouts.attention import Attention
from mris.synthesis.readouts.blend import Blend
from mris.synthesis.readouts.few import Few
from mris.synthesis.readouts.linear import Linear
from mris.synthesis.readouts.neighbors import NearestNeighbors
from mris.synthesis.readouts.readout import OpenReadout, Readout


def check_readout(readout: Readout, database: EmbeddingDatabase) -> None:
    """Refuse a readout that a database cannot give.

    Raises:
        SettingsError: It needs features of sources, or a penalty, and there are none.
    """
    if readout.name in ("linear", "blend", "few") and (readout.penalties is None or not database.header.n_features):
        lacking = "the sources of its entries" if not database.header.n_features else "validation people to choose by"
        raise SettingsError(
            f"database {database.path} cannot give the readout {readout.name!r}: it was made without {lacking}; index "
            "again, or take the readout 'attention'"
        )


def open_readout(readout: Readout, database: EmbeddingDatabase, gallery: Gallery) -> OpenReadout:
    """Make a readout answer from a database.

    Args:
        readout: Its name and parameters.
        database: One state of a database, for which `check_readout` holds.
        gallery: The pixels of that state.
    """
    match readout.name:
        case "neighbors":
            return NearestNeighbors(readout, database, gallery)
        case "attention":
            return Attention(readout.attention_temperature, database, gallery)
        case "linear":
            return Linear(readout, database, gallery)
        case "blend":
            attention = Attention(readout.attention_temperature, database, gallery)
            return Blend(attention, Linear(readout, database, gallery), readout.attention_share)
        case "few":
            return Few(readout.n_few, Linear(readout, database, gallery), database, gallery)
        case unknown:
            assert_never(unknown)
