"""TransNet V2 beside a network written in PyTorch from the paper, with one state dict."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data_pipeline.ingest.neural import NeuralTransitions
from stage_jax.models.transnet import TransNet, TransNetConfig
from stage_jax.weights.transnet_table import load_transnet

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
CONFIG = TransNetConfig(filters=2, width=8, similar=4, window=9)


def state_dict(config: TransNetConfig, seed: int = 0) -> dict:
    """Random numbers under the names of the published network."""
    generator, state = torch.Generator().manual_seed(seed), {}

    def put(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=generator) * (0.5 if len(shape) > 2 else 0.3)

    inputs = 3
    for i in range(config.stages):
        filters = config.filters * 2**i
        for j in range(config.cells):
            cell = f"SDDCNN.{i}.DDCNN.{j}"
            for d in (1, 2, 4, 8):
                put(f"{cell}.Conv3D_{d}.layers.0.weight", 2 * filters, 4 * filters if j else inputs, 1, 3, 3)
                put(f"{cell}.Conv3D_{d}.layers.1.weight", filters, 2 * filters, 3, 1, 1)
            for name in ("weight", "bias", "running_mean", "running_var"):
                put(f"{cell}.bn.{name}", 4 * filters)
            state[f"{cell}.bn.running_var"] = state[f"{cell}.bn.running_var"].abs() + 0.5
            state[f"{cell}.bn.num_batches_tracked"] = torch.tensor(7)
        inputs = 4 * filters
    sizes = {
        "frame_sim_layer.projection": (config.similar, sum(4 * config.filters * 2**i for i in range(config.stages))),
        "frame_sim_layer.fc": (config.similar, config.window),
        "color_hist_layer.fc": (config.similar, config.window),
        "fc1": (config.width, inputs * 3 * 6 + 2 * config.similar),
        "cls_layer1": (1, config.width),
        "cls_layer2": (1, config.width),
    }
    for name, shape in sizes.items():
        put(f"{name}.weight", *shape)
        put(f"{name}.bias", shape[0])
    return state


def twin(state: dict, config: TransNetConfig, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The forward pass [t, 27, 48, 3] -> two times [t], with the functions of PyTorch and loops for the rest."""
    f, x, means = torch.nn.functional, frames.permute(3, 0, 1, 2)[None].float() / 255, []
    for i in range(config.stages):
        for j in range(config.cells):
            cell = f"SDDCNN.{i}.DDCNN.{j}"
            parts = []
            for d in (1, 2, 4, 8):
                y = f.conv3d(x, state[f"{cell}.Conv3D_{d}.layers.0.weight"], padding=(0, 1, 1))
                y = f.conv3d(y, state[f"{cell}.Conv3D_{d}.layers.1.weight"], padding=(d, 0, 0), dilation=(d, 1, 1))
                parts.append(y)
            norm = [state[f"{cell}.bn.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
            x = f.batch_norm(torch.cat(parts, 1), *norm, eps=1e-3)
            if j == 0:
                x = shortcut = f.relu(x)
        x = f.avg_pool3d(f.relu(x) + shortcut, (1, 2, 2))
        means.append(x.mean((3, 4))[0].T)
    layer = {name.removesuffix(".weight"): (state[name], state[name.replace("weight", "bias")]) for name in state
             if name.endswith("weight") and not name.startswith("SDDCNN")}  # fmt: skip

    def band(vectors: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(len(vectors), config.window)
        for t in range(len(vectors)):
            for k in range(config.window):
                s = t + k - config.window // 2
                if 0 <= s < len(vectors):
                    out[t, k] = f.cosine_similarity(vectors[t], vectors[s], dim=0)
        return out

    counts = torch.zeros(len(frames), 512)
    for t, frame in enumerate(frames):
        for red, green, blue in (frame.reshape(-1, 3) // 32).tolist():
            counts[t, 64 * red + 8 * green + blue] += 1
    alike = f.relu(f.linear(band(f.linear(torch.cat(means, 1), *layer["frame_sim_layer.projection"])),
                            *layer["frame_sim_layer.fc"]))  # fmt: skip
    colours = f.relu(f.linear(band(counts), *layer["color_hist_layer.fc"]))
    flat = x[0].permute(1, 2, 3, 0).reshape(len(frames), -1)
    joint = f.relu(f.linear(torch.cat([colours, alike, flat], 1), *layer["fc1"]))
    return f.linear(joint, *layer["cls_layer1"])[:, 0], f.linear(joint, *layer["cls_layer2"])[:, 0]


def test_the_network_and_its_windows(tmp_path: Path):
    state = state_dict(CONFIG)
    torch.save(state, tmp_path / "weights.pth")
    model = load_transnet(tmp_path / "weights.pth", CONFIG)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (12, 27, 48, 3)).astype(np.uint8)
    expected = twin(state, CONFIG, torch.tensor(frames))
    for ours, theirs in zip(model(jnp.asarray(frames)[None]), expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours[0]), theirs.numpy(), rtol=1e-4, atol=1e-4)


def test_windows_cover_every_frame_once(monkeypatch: pytest.MonkeyPatch):
    """Each frame is told from the middle of a window, whatever the film's length; runs of likely frames are transitions."""
    marked = {49: 1, 50: 1, 120: 1}

    def told(_: object, frames: np.ndarray) -> np.ndarray:
        return np.array([marked.get(int(frame[0, 0, 0]), 0) for frame in frames], np.float32)

    monkeypatch.setattr("data_pipeline.ingest.neural._probabilities", told)
    for length in (124, 125, 175):
        found, neural = [], NeuralTransitions(TransNet(CONFIG, nnx.Rngs(0)))
        for i in range(length):
            found += neural.push(np.full((27, 48, 3), i, np.uint8))
        found += neural.close()
        assert [(t.last, t.at, t.first, t.kind) for t in found] == [(49, 50, 51, "cut"), (120, 121, 121, "cut")]
