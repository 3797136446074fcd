"""What is chosen by its name, in settings and on the command line. Imports nothing heavy: commands list these names."""

from typing import Literal

WeightRule = Literal["similarity", "softmax", "uniform"]
"""How neighbors weigh; "similarity" is Eq. 4 of the paper."""

ReadoutName = Literal["neighbors", "attention", "linear", "blend", "few"]
"""How people's maps become one."""

ErrorName = Literal["mae", "rmse"]
"""Error of an image: mean absolute, or root of mean square."""

Objective = Literal["both", "synthesis", "triplet"]
"""What metric learning is asked for."""

Method = Literal["unet", "pix2pix", "transunet", "autoencoder"]
"""Networks that map a source to its target directly."""
