"""Where methods that compare the images of two sites look inside a network."""

from __future__ import annotations

from medgraft.errors import ModelError
from medgraft.models.model import Model
from medgraft.models.unet import UNet


def representing_layer(who: str, model: Model) -> str | None:
    """Name of the inner layer that represents an image: in a U-Net's bottleneck, before its first ReLU.

    Args:
        who: the method that asks, for the error.
        model: any.

    Returns: None for a classifier, whose features serve.

    Raises:
        ModelError: it segments, and neither it nor what it wraps is a U-Net.

    >>> from medgraft.testing import make_model
    >>> representing_layer("AIVA", make_model("segment")), representing_layer("AIVA", make_model("classify"))
    ('bottleneck.first_norm', None)
    """
    if model.spec.kind != "segment":
        return None
    network, path = model, ""
    while network.wraps is not None:
        path += f"{network.wraps}."
        network = getattr(network, network.wraps)
    if not isinstance(network, UNet):
        raise ModelError(
            who, "a U-Net, or the name of a layer whose map represents an image",
            f"got a {type(network).__name__}", "Name one, for instance --set at=layer4.",
        )  # fmt: skip
    return f"{path}bottleneck.first_norm"
