"""A size or a spacing is read alike in an option and in a table."""

import numpy as np
import pytest

from mris.cli.cohorts import _pair
from mris.cohort.manifest import read_manifest
from mris.errors import SettingsError

GOOD = ["0.15", "0.15x0.2", "0.15X0.2", "0.15 x 0.2", "0.15 × 0.2", "0.15*0.2", "0.15;0.2", "1.5e-1 2e-1"]
BAD = ["0", "-1", "nan", "inf x 1", "0.15x", "x0.2", "1x2x3", "a", "0.15 mm"]


@pytest.mark.parametrize("text", [*GOOD, *BAD])
def test_an_option_and_a_manifest_read_a_spacing_alike(tmp_path, text: str) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    path = tmp_path / "m.csv"
    path.write_text(f'subject,timepoint,source,target,spacing\n1,0,x.npy,x.npy,"{text}"\n', encoding="utf-8")
    manifest = read_manifest(path)
    if text in GOOD:
        assert _pair("--target-spacing", text) == manifest.rows[0].spacing == (0.15, 0.15 if text == "0.15" else 0.2)
        return
    assert [finding.column for finding in manifest.findings] == ["spacing"]
    with pytest.raises(SettingsError, match="give one positive number, or two"):
        _pair("--target-spacing", text)
