"""Memory ranked by CLIP, to the description or to the previous end frame, for models whose folder has CLIP.

    stage sweep --config configs/step2_1_3b.py:clip --sweep configs/sweeps/step2_clip_ranking.py --workdir runs/clip_ranking
"""

from typing import Any


def get_sweep() -> list[dict[str, Any]]:
    return [{"recipe.ranking": name} for name in ("clip_text", "clip_image")]
