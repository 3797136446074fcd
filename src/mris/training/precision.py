"""Choose number format, memory layout and threads for the device that is there."""

from dataclasses import dataclass
from typing import Literal

import torch

PrecisionName = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class Numerics:
    """How a network computes: Lightning's precision name and whether tensors are channels-last."""

    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    channels_last: bool


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); elsewhere bf16 is slower than fp32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def gpu_has_bf16() -> bool:
    """Whether this GPU multiplies bfloat16 in hardware; torch emulates it on older ones, slower than float16."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def choose_numerics(precision: PrecisionName = "auto", *, accelerator: str = "auto") -> Numerics:
    """Choose the fastest number format that trains reliably here.

    A GPU that multiplies bfloat16 uses it, an older one float16 with loss scaling; a CPU uses bfloat16 only where the
    hardware multiplies it. Channels-last is the faster layout for convolutions in all of these cases.

    Args:
        precision: "auto", or a name of Lightning's to force.
        accelerator: "auto", "cpu" or "gpu".

    Example:
        >>> choose_numerics("32-true", accelerator="cpu")
        Numerics(precision='32-true', channels_last=True)
    """
    if precision != "auto":
        return Numerics(precision, channels_last=True)
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if on_gpu:
        return Numerics("bf16-mixed" if gpu_has_bf16() else "16-mixed", channels_last=True)
    return Numerics("bf16-mixed" if cpu_has_bf16() else "32-true", channels_last=True)
