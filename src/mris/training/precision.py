"""Choose the number format for the device that is there."""

from typing import Literal

import torch

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
PrecisionName = Literal["auto"] | Precision


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); elsewhere bf16 is slower than fp32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def gpu_has_bf16() -> bool:
    """Whether this GPU multiplies bfloat16 in hardware; torch emulates it on older ones, slower than float16."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def choose_precision(precision: PrecisionName = "auto", *, accelerator: str = "auto") -> Precision:
    """Choose the fastest number format that trains reliably here.

    A GPU that multiplies bfloat16 uses it, an older one float16 with loss scaling; a CPU uses bfloat16 only where the
    hardware multiplies it.

    Args:
        precision: "auto", or a name of Lightning's to force.
        accelerator: "auto", "cpu" or "gpu".

    Example:
        >>> choose_precision("32-true", accelerator="cpu")
        '32-true'
    """
    if precision != "auto":
        return precision
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if on_gpu:
        return "bf16-mixed" if gpu_has_bf16() else "16-mixed"
    return "bf16-mixed" if cpu_has_bf16() else "32-true"
