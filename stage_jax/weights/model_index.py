"""What diffusers wants of a pipeline beside its models: model_index.json, the scheduler, how CLIP's pictures are prepared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from stage_jax.models.dit import DiTConfig
from stage_jax.models.zoo import DITS

_CLASSES = {
    "dit": ("transformer", "diffusers", "WanTransformer3DModel"),
    "dit_low": ("transformer_2", "diffusers", "WanTransformer3DModel"),
    "vae": ("vae", "diffusers", "AutoencoderKLWan"),
    "umt5": ("text_encoder", "transformers", "UMT5EncoderModel"),
    "tokenizer": ("tokenizer", "transformers", "T5TokenizerFast"),
}
_CLIP = {
    "clip": ("image_encoder", "transformers", "CLIPVisionModel"),
    "image_processor": ("image_processor", "transformers", "CLIPImageProcessor"),
}
# Of OpenAI's CLIP, which Wan's shares.
_MEAN, _STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_SHIFT = 3.0  # diffusers' own, where a model says no other


def pipeline_files(config: DiTConfig, parts: Collection[str], sampling: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Path in the pipeline's folder -> JSON. config: of the DiT. parts: those that are there, with the tokenizer. sampling: of
    the DiT; its shift and, for two experts, its boundary are told."""
    image = config.in_channels != config.out_channels
    there = {*parts, "scheduler"} | ({"image_processor"} if "clip" in parts else set())
    classes = _CLASSES | (_CLIP if image else {})
    index: dict[str, Any] = {name: [library, word] if part in there else [None, None]
                             for part, (name, library, word) in classes.items()}  # fmt: skip
    index["_class_name"] = "WanImageToVideoPipeline" if image else "WanPipeline"
    index["scheduler"] = ["diffusers", "UniPCMultistepScheduler"]
    index["boundary_ratio"] = sampling.get("boundary") if "dit_low" in parts else None
    index["expand_timesteps"] = config.out_channels == DITS["wan2.2-ti2v-5b"].out_channels
    scheduler = {
        "_class_name": "UniPCMultistepScheduler",
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": sampling.get("shift", _SHIFT),
    }
    files = {"model_index.json": index, "scheduler/scheduler_config.json": scheduler}
    if "image_processor" in index and index["image_processor"][0]:
        files["image_processor/preprocessor_config.json"] = _preprocessor(224)
    return files


def _preprocessor(side: int) -> dict[str, Any]:
    """transformers' own preparation: the short side to `side`, then the middle."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,  # bicubic
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": _MEAN,
        "image_std": _STD,
        "do_convert_rgb": True,
    }
