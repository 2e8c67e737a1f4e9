"""Processes: how they start, and who works on which rows."""

from __future__ import annotations

import copy
import pickle  # never a file: only between the processes of one run
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from medgraft.errors import MedgraftError
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
    returned = pickle.loads(fabric.launch(_Call(function, arguments, run)))  # noqa: S301 - our own processes
    if isinstance(returned, MedgraftError):
        raise returned
    result: Result = returned
    return result


class _Call:
    """A call that travels to another process as one object, so that Fabric leaves its arguments alone.

    Its result comes back as bytes: tensors sent as such live in memory that ends with the process that made them.
    """

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], run: Run) -> None:
        self.function, self.arguments, self.run = function, arguments, run

    def __call__(self, fabric: Fabric) -> bytes:
        self.run.shared.fabric = fabric
        # tensors arrive in memory that the processes share: each must train a copy of its own
        arguments = [copy.deepcopy(item) if isinstance(item, nn.Module) else item for item in self.arguments]
        try:
            result = self.function(*arguments, self.run)
        except MedgraftError as error:  # every process meets it; one tells the user, without a traceback
            result = error
        return pickle.dumps(result) if fabric.global_rank == 0 else b""


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
