"""A network that real radiographs taught: narrowing grades of the knees without measured thickness."""

from pathlib import Path

import numpy as np
from knees import RealKnees, sources

from mris.images.transforms import SourcePreparation
from mris.images.write import write_npz

SIZE, EPOCHS, BATCH = 80, 12, 64


def graded(knees: RealKnees, work: Path) -> np.ndarray:
    """Grades (medial, lateral) that the network gives the measured knees, (2, n); it has seen none of these people."""
    kept = work / "graded.npz"
    if not kept.is_file():
        write_npz(kept, grades=_trained(knees))
    with np.load(kept, allow_pickle=False) as archive:
        return archive["grades"]


def _trained(knees: RealKnees) -> np.ndarray:
    import torch

    from mris.metric.settings import preset
    from mris.training.augmentation import apply_augmentation, draw_augmentation
    from mris.training.networks import build_network, keep_places

    known = knees.steering(len(knees.knees))
    prepare = SourcePreparation((SIZE, SIZE), mirror_sides=("right",))
    x = torch.from_numpy(sources(known, prepare))
    y = torch.tensor([[knee.medial, knee.lateral] for knee in known], dtype=torch.float32)
    torch.manual_seed(0)
    network = build_network("resnet18", channels=1, embedding_dim=2, width=16, stem="standard")
    keep_places(network, (SIZE, SIZE))
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
    network.eval()
    with torch.inference_mode():
        return network(torch.from_numpy(sources(knees.measured, prepare))).numpy().T
