"""Running statistics of batch norm, computed anew from data."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medgraft.engine.loading import Loader
from medgraft.engine.memory_order import channels_last
from medgraft.engine.patches import Patches, load_batch
from medgraft.engine.predict import placed
from medgraft.engine.progress import progress_bar
from medgraft.engine.supervised import draw_batches
from medgraft.models.model import Model, evaluation_mode


def estimate_batch_stats(
    model: Model,
    loader: Loader | Patches,
    generator: torch.Generator,
    *,
    batch_size: int = 32,
    passes: int = 1,
    device: str | torch.device = "cpu",
    shown: bool | None = False,
) -> None:
    """Replace the running statistics of batch norm, in place, by their mean over the batches of a pass or more.

    Everything but batch norm is in evaluation mode meanwhile; weights stay as they are. Running averages lag behind the
    weights and keep a trace of where they started: after thirty steps a network from scratch that had learned its
    training rows predicted one class for everything, and with statistics computed anew it did not.

    Args:
        model: any; without batch norm nothing happens.
        loader: prepared rows, or patches of them drawn as in training; only the images are used.
        generator: shuffles the rows and draws the patches.
        batch_size: rows per batch at most.
        passes: how often the rows are gone through, each time in another order.
        device: where to compute; the model is left where it was.
        shown: progress bar; None shows it at a terminal.

    Source: Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3 (precise statistics; batches count equally).
    """
    norms = [module for module in batch_norms(model) if module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    steps = passes * -(-len(loader) // batch_size)
    bar = progress_bar("batch statistics", steps, shown)
    with evaluation_mode(model), placed(model, device), torch.no_grad(), bar as advance:
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # torch's word for a plain mean
                norm.train()
            weights = loader.weights if isinstance(loader, Patches) else None
            for rows in draw_batches(len(loader), batch_size, generator, steps, weights):
                model(channels_last(load_batch(loader, rows, generator).images.to(device)))
                advance(None)
        finally:
            for norm, momentum in zip(norms, momenta):
                norm.momentum = momentum


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a network, in order."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
