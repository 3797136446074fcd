"""The number format follows what the device multiplies, not what it can emulate."""

import pytest
import torch

from mris.training.precision import choose_precision


@pytest.mark.parametrize(("major", "precision"), [(7, "16-mixed"), (9, "bf16-mixed")])
def test_a_gpu_that_only_emulates_bfloat16_trains_in_float16(
    monkeypatch: pytest.MonkeyPatch, major: int, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or major >= 8
    )
    assert choose_precision() == precision
