"""Processor time of the thickness maps of real knees, on one thread: reading, registration, thickness, maps.

Run: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/thickness.py ATLAS SEGMENTATION... [--before SRC]

With --before each knee is measured with the sources in SRC (the folder `src` of another checkout), too, one after the
other so that a busy machine slows both, and the maps are compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atlas", type=Path)
    parser.add_argument("segmentations", type=Path, nargs="*")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.atlas, given.serve)
        return
    trees = {"now": Path(__file__).parents[1] / "src"} | ({"before": given.before} if given.before else {})
    with tempfile.TemporaryDirectory() as folder:
        children = {name: child(given.atlas, tree, Path(folder) / name) for name, tree in trees.items()}
        for name, process in children.items():
            print(f"{name}: atlas, once a process: {answer(process)['seconds']:.1f} s", flush=True)
        knees = [measured(children, path) for path in given.segmentations]
        for process in children.values():
            process.communicate()
    for name in trees:
        middle = statistics.median(knee[name]["seconds"] for knee in knees)
        print(f"{name}: a knee: {middle:.1f} s (median of {len(knees)})")
    if given.before:
        ratios = [knee["now"]["seconds"] / knee["before"]["seconds"] for knee in knees]
        print(f"now / before: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        for name in trees:
            print(f"{name}: mean Dice {statistics.median(knee[name]['dice'] for knee in knees):.3f} (median)")
        middle, most, mean = (statistics.median(knee["difference"][i] for knee in knees) for i in range(3))
        print(
            f"maps differ by {middle:.3f} mm (median), {most:.3f} mm (95th percentile), {mean:+.2f} % (mean), by knee"
        )


def child(atlas: Path, tree: Path, folder: Path) -> "subprocess.Popen[str]":
    """A process of its own for one tree of sources."""
    folder.mkdir(parents=True)
    command = [sys.executable, __file__, str(atlas), "--serve", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve())}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def measured(children: "dict[str, subprocess.Popen[str]]", path: Path) -> dict[str, Any]:
    """What each tree makes of a knee, and how far the maps lie apart."""
    found: dict[str, Any] = {}
    maps = []
    for name, process in children.items():
        assert process.stdin is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        found[name] = answer(process)
        maps.append(np.load(found[name]["maps"], allow_pickle=False))
        print(f"{path.name} {name}: {found[name]['seconds']:.1f} s, of which {found[name]['steps']}", flush=True)
    apart = maps[0] - maps[-1]
    found["difference"] = [*np.nanquantile(np.abs(apart), [0.5, 0.95]), 100 * np.nanmean(apart) / np.nanmean(maps[-1])]
    print(
        "{} maps differ by {:.3f} mm (median), {:.3f} mm (95th percentile), {:+.2f} % (mean)".format(
            path.name, *found["difference"]
        ),
        flush=True,
    )
    return found


def serve(atlas_folder: Path, out: Path) -> None:
    """Make the maps of the files that stand on stdin, a line of JSON for each."""
    from mris.knee.cartilage_atlas import open_atlas
    from mris.knee.flatten import map_mask

    try:
        from mris.knee.label_map import PRESETS
    except ImportError:  # the first edition, for --before
        from mris.knee.segmentation import PRESETS
    from mris.knee.segmentation import read_segmentation
    from mris.knee.segmentation_files import knee_files
    from mris.knee.template import template_of
    from mris.knee.thickness_maps import thickness_maps

    start = time.process_time()
    atlas = open_atlas(atlas_folder)
    template_of(atlas)
    map_mask(atlas.femoral), map_mask(atlas.tibial)
    print(json.dumps({"seconds": time.process_time() - start}), flush=True)
    for n, line in enumerate(sys.stdin):
        (file,) = knee_files([Path(line.strip())])
        start = time.process_time()
        found = thickness_maps(atlas, read_segmentation(file.path, PRESETS["oai_knees"], file.side))
        seconds = time.process_time() - start
        path = out / f"{n}.npy"
        np.save(path, np.stack([found.femoral, found.tibial]), allow_pickle=False)
        facts = {"seconds": seconds, "steps": dict(found.seconds), "dice": found.registration.mean_dice}
        findings = [str(one) for one in getattr(found, "findings", ())]  # the first edition has none
        print(json.dumps({**facts, "maps": str(path), "findings": findings}), flush=True)


if __name__ == "__main__":
    main()
