"""Processor time of the thickness maps of real knees, on one thread: reading, registration, thickness, maps.

Run: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/thickness.py ATLAS SEGMENTATION...
"""

import statistics
import sys
import time
from pathlib import Path

from mris.knee.cartilage_atlas import open_atlas
from mris.knee.flatten import map_mask
from mris.knee.segmentation import PRESETS, read_segmentation
from mris.knee.segmentation_files import knee_files
from mris.knee.template import template_of
from mris.knee.thickness_maps import thickness_maps


def main() -> None:
    start = time.process_time()
    atlas = open_atlas(Path(sys.argv[1]))
    template_of(atlas)
    map_mask(atlas.femoral), map_mask(atlas.tibial)
    print(f"atlas, once a process: {time.process_time() - start:.1f} s")
    knees = []
    for file in knee_files([Path(name) for name in sys.argv[2:]]):
        start = time.process_time()
        found = thickness_maps(atlas, read_segmentation(file.path, PRESETS["oai_knees"], file.side))
        knees.append(time.process_time() - start)
        print(f"{file.key}: {knees[-1]:.1f} s, of which {dict(found.seconds)}", flush=True)
    print(f"a knee: {statistics.median(knees):.1f} s (median of {len(knees)})")


if __name__ == "__main__":
    main()
