"""Lightning, the only way in: what it brings along makes no folder in the home or beside other programs' files."""

import mris.drawing  # noqa: F401 - first, because Lightning's metrics import Matplotlib
from mris.quiet import no_folder_of_torch

with no_folder_of_torch():
    import lightning
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import disable_possible_user_warnings, rank_zero_only

__all__ = [
    "CUDAAccelerator",
    "Callback",
    "CheckpointIO",
    "ClusterEnvironment",
    "EarlyStopping",
    "LightningEnvironment",
    "MPSAccelerator",
    "ModelCheckpoint",
    "SLURMEnvironment",
    "TensorBoardLogger",
    "disable_possible_user_warnings",
    "lightning",
    "rank_zero_only",
]
