"""Parts of the cartilages on resized maps: as at full size, and only where the maps lie in the atlas' frame."""

from pathlib import Path

import numpy as np
import pytest

from mris.errors import SettingsError
from mris.images.transforms import resize_target
from mris.knee.cartilage_atlas import CartilageAtlas, open_atlas
from mris.knee.flatten import map_mask, subregion_masks
from mris.knee.map_parts import map_parts
from mris.knee.phantom.atlas import knee_atlas

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def atlas(data_dir: Path) -> CartilageAtlas:
    return open_atlas(data_dir / "oai_atlas")


@pytest.fixture(scope="module")
def thickness(data_dir: Path) -> np.ndarray:
    return np.load(data_dir / "oai_atlas" / "TC_2d_thickness.npy")


def test_at_full_size_the_parts_are_the_atlas_own(atlas) -> None:
    parts = map_parts(atlas, {"tibial": map_mask(atlas.tibial), "patellar": np.ones((4, 4), bool)})
    assert list(parts) == ["tibial"]
    for name, mask in subregion_masks(atlas.tibial).items():
        np.testing.assert_array_equal(parts["tibial"][name], mask)


@pytest.mark.parametrize("size", [(64, 64), (160, 128), (400, 310), (24, 24)])
def test_on_a_resized_map_a_part_has_the_mean_it_had_at_full_size(atlas, thickness, size) -> None:
    small = resize_target(thickness, size)
    parts = map_parts(atlas, {"tibial": np.isfinite(small)})["tibial"]
    near = 0.05 if min(size) > 24 else 0.15  # the smallest part has 25 of those pixels
    for name, mask in subregion_masks(atlas.tibial).items():
        assert parts[name].shape == size
        assert np.nanmean(small[parts[name]]) == pytest.approx(np.nanmean(thickness[mask]), abs=near), name


def test_maps_of_another_frame_are_refused(atlas, thickness) -> None:
    digital = knee_atlas(128).mask[1]
    for mask in (digital, np.isfinite(thickness).T, np.ones((64, 64), bool)):
        with pytest.raises(SettingsError, match=r"share \d+% of their pixels.*leave out --atlas"):
            map_parts(atlas, {"tibial": mask})
