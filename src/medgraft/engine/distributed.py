"""Processes: how they start, and who works on which rows."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medgraft.errors import MedgraftError, RunError, SettingsError
from medgraft.types import Step

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from lightning_fabric import Fabric

    from medgraft.engine.run import Run

Result = TypeVar("Result")


def choose_device(asked: str) -> str:
    """Turn "auto", "cpu" or "cuda" into one of the last two.

    Raises:
        SettingsError: another name, or there is no GPU.

    >>> choose_device("cpu")
    'cpu'
    """
    import torch

    if asked not in ("auto", "cpu", "cuda"):
        raise SettingsError(
            "A run", "a device among auto, cpu and cuda", f"it got {asked!r}", "Choose one of these."
        )
    if asked == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "A run on 'cuda'", "a GPU that torch can use", "torch finds none",
            "Use --device cpu, or install the driver and a CUDA build of torch.",
        )  # fmt: skip
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


def make_fabric(run: Run) -> Fabric:
    """A Fabric for the run's device, precision and number of processes."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    strategy: Any = "auto"
    if run.processes > 1:
        # parameters rest in some phases and some scopes, so the reducer must look for the unused ones
        strategy = DDPStrategy(find_unused_parameters=True, start_method="spawn")
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fabric's advice is about its own launcher
        return Fabric(
            accelerator=choose_device(run.device),
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
    here, there = multiprocessing.get_context("spawn").Pipe()
    answers: list[Any] = []

    def receive() -> None:
        answers.append(here.recv())
        here.send("received")

    listener = threading.Thread(target=receive, daemon=True)
    listener.start()
    try:
        make_fabric(run).launch(_Call(function, arguments, run, there))
        listener.join()
    finally:
        here.close()
        there.close()
    if isinstance(answers[0], MedgraftError):
        raise answers[0]
    result: Result = answers[0]
    return result


class _Call:
    """A call that travels to another process as one object, so that Fabric leaves its arguments alone.

    The result comes back through a pipe and not through Fabric, whose launcher waits for a process to end before it
    reads what that process has to say: a model is too large for that.
    """

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], run: Run, answer: Connection
    ) -> None:
        self.function, self.arguments, self.run, self.answer = function, arguments, run, answer

    def __call__(self, fabric: Fabric) -> None:
        self.run.shared.fabric = fabric
        # tensors arrive in memory that the processes share: each must train a copy of its own
        arguments = [copy.deepcopy(item) if isinstance(item, nn.Module) else item for item in self.arguments]
        try:
            result = self.function(*arguments, self.run)
        except MedgraftError as error:  # every process meets it; one tells the user, without a traceback
            result = error
        if fabric.global_rank == 0:
            self.answer.send(result)
            self.answer.recv()  # tensors live in this process's memory until they are received


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
    start, stop = _start(rows, rank, world), _start(rows, rank + 1, world)
    if start == stop:
        return Step({name: tensor[:1] for name, tensor in step.tensors.items()}), 0.0
    return Step({name: tensor[start:stop] for name, tensor in step.tensors.items()}), (
        stop - start
    ) * world / rows


def _start(rows: int, rank: int, world: int) -> int:
    return (rows * rank + world - 1) // world


def first_of_own(rows: int) -> int:
    """Where this process's rows begin among the rows of a batch that `gather_rows` gave; 0 with one process.

    Args:
        rows: of all processes, each of which has some.

    >>> first_of_own(5)
    0
    """
    if not (dist.is_available() and dist.is_initialized()):
        return 0
    return _start(rows, dist.get_rank(), dist.get_world_size())


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes in their order, with gradients back to each; with one process, the rows themselves.

    A loss of all rows, computed so in every process, has the gradient of one process that holds them all: the exchange
    of gradients takes the mean of what every process's copy of the loss says.

    Args:
        rows: (n, D), n as `shard` leaves them: numbers differ between processes by one at most.

    >>> gather_rows(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    lengths = [int(count) for count in counts]
    padded = torch.cat([rows, rows.new_zeros(max(lengths) - len(rows), *rows.shape[1:])])
    parts: Tensor = _Gathered.apply(padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths)])


class _Gathered(torch.autograd.Function):
    """(n, D) of each process to (processes, n, D); its gradient is summed over processes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank()]


def synchronise_buffers(fabric: Fabric, module: nn.Module) -> None:
    """Batch statistics differ between processes: rank 0's are kept, as in the saved model."""
    if fabric.world_size > 1:
        for buffer in module.buffers():
            buffer.copy_(fabric.broadcast(buffer, src=0))


def refuse_disagreement(fabric: Fabric, module: nn.Module) -> None:
    """Every process must end with the same weights; a method that draws rows by itself would break this.

    Raises:
        RunError: they differ.
    """
    if fabric.world_size == 1:
        return
    total = torch.stack([weight.detach().double().sum() for weight in module.parameters()]).cpu()
    if not torch.equal(total, fabric.broadcast(total, src=0)):
        raise RunError(
            "The training", "processes that end with the same weights", "they differ",
            "Make batches() yield the same global batches in every process, drawn from run.generator.",
        )  # fmt: skip
