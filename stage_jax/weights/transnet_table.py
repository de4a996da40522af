"""TransNet V2's names in the PyTorch form of its published weights, and here. Parameter names as in its public code."""

from __future__ import annotations

from pathlib import Path

from flax import nnx

from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.transnet import DILATIONS, TransNet, TransNetConfig
from stage_jax.weights.checkpoint import open_checkpoint
from stage_jax.weights.stream import load_params
from stage_jax.weights.table import Entry, Table, linear, unread

CONV = (2, 3, 4, 1, 0)  # [out, in, t, y, x] -> [t, y, x, in, out]
_LAYERS = {
    "frame_sim_layer.projection": "projection",
    "frame_sim_layer.fc": "features",
    "color_hist_layer.fc": "colours",
    "fc1": "joint",
    "cls_layer1": "one",
    "cls_layer2": "all",
}
_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}


def transnet_table(config: TransNetConfig) -> Table:
    """Table of `weights.table`."""
    entries: list[Entry] = []
    for stage in range(config.stages):
        for cell in range(config.cells):
            theirs, ours = f"SDDCNN.{stage}.DDCNN.{cell}", f"stages.{stage}.cells.{cell}"
            for branch, dilation in enumerate(DILATIONS):
                for layer, kernel in enumerate(("space", "time")):
                    name = f"{theirs}.Conv3D_{dilation}.layers.{layer}.weight"
                    entries.append(Entry(name, f"{ours}.branches.{branch}.{kernel}", CONV))
            entries += [Entry(f"{theirs}.bn.{name}", f"{ours}.{path}") for name, path in _NORM.items()]
            entries.append(unread(f"{theirs}.bn.num_batches_tracked"))
    return (*entries, *(entry for names in _LAYERS.items() for entry in linear(*names)))


def load_transnet(path: Path, config: TransNetConfig | None = None) -> TransNet:
    """The network of a PyTorch checkpoint (.pth, whose pickle is not run, or .safetensors). InputError if it is of another."""
    config = config or TransNetConfig()
    abstract = nnx.eval_shape(lambda: TransNet(config, nnx.Rngs(0)))
    return with_params(abstract, load_params(open_checkpoint(path), transnet_table(config), flat_params(abstract)))
