"""The paper's ablations of STEP2, each trained by itself: memory off, frames denoised separately, the release's packing; and
how memory is ranked. "SFT only" is the run before DPO (configs/sweeps/dpo_beta.py).

    stage sweep --config configs/tiny_step2.py:ablation --sweep configs/sweeps/step2_ablations.py --workdir runs/ablations
"""

from typing import Any


def get_sweep() -> list[dict[str, Any]]:
    switches = [
        {"recipe.packing": "paper"},
        {"recipe.packing": "paper", "recipe.previous": False},
        {"recipe.packing": "release"},
        {"recipe.packing": "off"},
        {"recipe.joint": False},
    ]
    rankings = [{"recipe.ranking": name, "recipe.anchors": False} for name in ("story", "latent", "recency")]
    return [*switches, *rankings]
