"""Networks that real radiographs taught: narrowing grades of the knees of people without measured thickness."""

from pathlib import Path
from typing import Any

import numpy as np
from knees import RealKnee, RealKnees, sources

from mris.images.transforms import SourcePreparation
from mris.images.write import write_npz

SIZE, EPOCHS, BATCH = 80, 12, 64
PREPARATION = SourcePreparation((SIZE, SIZE), mirror_sides=("right",))


def graded(knees: RealKnees, work: Path) -> np.ndarray:
    """Grades (medial, lateral) that a network gives the measured knees, (2, n); it has seen none of these people."""
    import torch

    kept = work / "graded.npz"
    if not kept.is_file():
        network = _taught(knees.steering(len(knees.knees)), local=False)
        with torch.inference_mode():
            grades = network(torch.from_numpy(sources(knees.measured, PREPARATION))).numpy().T
        write_npz(kept, grades=grades)
    with np.load(kept, allow_pickle=False) as archive:
        return archive["grades"]


def teacher(knees: RealKnees, work: Path) -> Path:
    """Weights of such a network that sees local contrast, as the source encoder of "varied" does."""
    from safetensors.torch import save_file

    kept = work / "teacher.safetensors"
    if not kept.is_file():
        taught = _taught(knees.steering(len(knees.knees)), local=True).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in taught.items()}, kept)
    return kept


def _taught(known: list[RealKnee], *, local: bool) -> Any:
    import torch

    from mris.metric.settings import preset
    from mris.training.augmentation import apply_augmentation, draw_augmentation
    from mris.training.networks import build_network, keep_places, see_local_contrast

    x = torch.from_numpy(sources(known, PREPARATION))
    y = torch.tensor([[knee.medial, knee.lateral] for knee in known], dtype=torch.float32)
    torch.manual_seed(0)
    network = build_network("resnet18", channels=1, embedding_dim=2, width=16, stem="standard")
    keep_places(network, (SIZE, SIZE))
    if local:
        see_local_contrast(network, (SIZE, SIZE))
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    augmentation = preset("varied").augmentation
    for _ in range(EPOCHS):
        order = torch.from_numpy(rng.permutation(len(x)))
        for rows in order.split(BATCH)[:-1]:
            shown = apply_augmentation(x[rows], draw_augmentation((len(rows), 1, SIZE, SIZE), augmentation, generator))
            loss = ((network(shown.contiguous(memory_format=torch.channels_last)) - y[rows]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return network.eval()
