"""What stain invariance costs when tiles are predicted: nothing for Stain-AgLr, something for normalisers.

Run: python benchmarks/stain_prediction.py [--rounds 5]
On one thread, in turn: 100 real tiles of 128 px in simulated stains, predicted by the published small network as it is,
as Stain-AgLr returns it, and behind each normaliser. Ratios are to the network as it is. Published, on other machines:
0.29 s for the plain network and for Stain-AgLr, 102 s with Vahadane, 0.82 and 0.91 s with learned normalisers (Raipuria
et al. 2022).
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import medgraft as mg
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.stain_normalised import AT_ONCE, StainNormalised
from medgraft.images.preparation import Preparer
from medgraft.methods import DSCSIGAN, ERM, STST, NormaliseStain, StainAgLr
from medgraft.models.model import Model

TILES = 100


def models(source: mg.Cohort) -> dict[str, Model]:
    """Trained for one step, which costs predictions as much as a full training."""
    task, short = mg.Task(source=source), Schedule(epochs=1, batch_size=16)

    def adapted(model: Model | str, method: object) -> Model:
        run = Run(limit=Limit(epochs=1, steps=1), select="last", progress=False, device="cpu")
        return mg.adapt(model, task, method, run)  # type: ignore[arg-type]

    plain = adapted("random/stain_cnn", ERM(augmentation="dihedral", schedule=short))
    found = {
        "plain": plain,
        "Stain-AgLr": adapted("random/stain_cnn", StainAgLr(schedule=short)),
    }
    for normaliser in ("reinhard", "macenko", "vahadane"):
        for per in ("region", "tile"):
            method = NormaliseStain(normaliser=normaliser, per=per, images=20)  # type: ignore[arg-type]
            found[f"{normaliser} per {per}"] = adapted(plain, method)
    for name, learned in {"STST": STST, "DSCSI-GAN": DSCSIGAN}.items():
        found[name] = adapted(plain, learned(schedule=Schedule(epochs=1, steps_per_epoch=1, batch_size=1)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cohort = mg.load_phantom("stain_tiles", slices=512, side=128, sites=["reference", "other_dyes"])
    compared = models(cohort.at("reference"))
    tiles = cohort.at("other_dyes").split("test")
    prepare = Preparer(compared["plain"].spec.preparation)
    images = torch.stack([prepare.image(tiles.picture(row).array) for row in range(TILES)])
    times: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(given.rounds):
        for name, model in compared.items():
            started = time.process_time()
            # in the same pieces as behind a normaliser, which itself takes a whole region
            whole = isinstance(model, StainNormalised)
            for part in (images,) if whole else torch.split(images, AT_ONCE):
                model.predict(part)
            times[name].append(time.process_time() - started)
    for name, own in times.items():
        ratio = statistics.median(one / plain for one, plain in zip(own, times["plain"]))
        print(
            f"{name:20} {statistics.median(own):7.2f} s for {TILES} tiles, {ratio:6.2f} times the plain network"
        )


if __name__ == "__main__":
    main()
