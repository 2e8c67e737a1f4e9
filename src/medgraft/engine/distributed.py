"""Processes: how they start, and who works on which rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from medgraft.types import Step

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from medgraft.engine.run import Run

Result = TypeVar("Result")


def make_fabric(run: Run) -> Fabric:
    """A Fabric for the run's device, precision and number of processes."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    strategy: Any = "auto"
    if run.processes > 1:
        # parameters rest in some phases and some scopes, so the reducer must look for the unused ones
        strategy = DDPStrategy(find_unused_parameters=True, start_method="spawn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fabric's advice is about its own launcher
        return Fabric(
            accelerator=run.device,
            devices=run.processes if run.processes > 1 else 1,
            strategy=strategy,
            precision=run.precision,
        )


def launch(run: Run, function: Callable[..., Result], *arguments: Any) -> Result:
    """Call `function(*arguments, run)` in every process of the run and return what rank 0 returned.

    Args:
        run: with `processes` > 1 the function and its arguments are sent to new processes; scripts then need the
            usual ``if __name__ == "__main__":`` guard.
    """
    if run.processes == 1:
        return function(*arguments, run)
    fabric = make_fabric(run)
    result: Result = fabric.launch(_enter, function, arguments, run)
    return result


def _enter(fabric: Fabric, function: Callable[..., Result], arguments: tuple[Any, ...], run: Run) -> Result | None:
    run.shared.fabric = fabric
    result = function(*arguments, run)
    return result if fabric.global_rank == 0 else None


def shard(step: Step, rank: int, world: int) -> tuple[Step, float]:
    """The rows of a global batch that one process works on, and the weight of its mean loss.

    Weights make the mean over processes equal the mean over all rows when rows do not divide evenly; a process
    without rows works on the first one at weight 0, since all must take part in the exchange of gradients.

    >>> import torch
    >>> part, weight = shard(Step({"images": torch.arange(5)}), rank=1, world=2)
    >>> part.tensors["images"].tolist(), weight
    ([3, 4], 0.8)
    """
    if world == 1:
        return step, 1.0
    rows = len(next(iter(step.tensors.values())))
    start, stop = (rows * rank + world - 1) // world, (rows * (rank + 1) + world - 1) // world
    if start == stop:
        return Step({name: tensor[:1] for name, tensor in step.tensors.items()}), 0.0
    return Step({name: tensor[start:stop] for name, tensor in step.tensors.items()}), (stop - start) * world / rows
