"""`stage video --prompt ...`: Wan itself, with the flags of Wan's generate.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from stage_jax.cli.arguments import finite, refuse, whole
from stage_jax.cli.loras import add_loras, asked_loras
from stage_jax.errors import InputError
from stage_jax.progress import Progress
from stage_jax.story.checks import MOST_SEED

# Wan's names of its tasks, and the released model (a name of the zoo) whose form they need.
TASKS = {
    "t2v-1.3B": "wan2.1-t2v-14b",  # the two sizes have one form
    "t2v-14B": "wan2.1-t2v-14b",
    "t2i-14B": "wan2.1-t2v-14b",
    "i2v-14B": "wan2.1-i2v-14b",
    "flf2v-14B": "wan2.1-flf2v-14b",
    "t2v-A14B": "wan2.2-t2v-a14b",
    "i2v-A14B": "wan2.2-i2v-a14b",
    "ti2v-5B": "wan2.2-ti2v-5b",
}
STILLS = ("t2i-14B",)
SOLVERS = ("unipc", "dpm++", "euler")
_ONE_DEVICE, _WRITTEN_OUT = "one device does the work here", "write the prompt out in full (--prompt)"
_VACE = "VACE is not among the models here"
NOT_HERE = {
    "--ulysses_size": _ONE_DEVICE,
    "--ring_size": _ONE_DEVICE,
    "--t5_fsdp": _ONE_DEVICE,
    "--dit_fsdp": _ONE_DEVICE,
    "--t5_cpu": "the text encoder has left the device before the DiT comes (--offload_model True, the default)",
    "--convert_model_dtype": "say --dtype bfloat16",
    "--use_prompt_extend": _WRITTEN_OUT,
    "--prompt_extend_method": _WRITTEN_OUT,
    "--prompt_extend_model": _WRITTEN_OUT,
    "--prompt_extend_target_lang": _WRITTEN_OUT,
    "--src_video": _VACE,
    "--src_mask": _VACE,
    "--src_ref_images": _VACE,
}


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "video", help="a video from a prompt, and pictures, by Wan", description="Runs Wan; flags as in Wan's generate.py."
    )
    parser.add_argument("--prompt", metavar="TEXT", required=True, help="what is to be seen")
    parser.add_argument("--negative_prompt", metavar="TEXT", help="what is not (default: Wan's own for the model)")
    parser.add_argument(
        "--model", "--ckpt_dir", metavar="DIR", type=Path, help="model folder, Wan's own or diffusers' (default: the tiny one)"
    )
    add_loras(parser, "--lora")
    parser.add_argument("--task", choices=TASKS, help="checked against the model, which says by itself what it does")
    parser.add_argument("--image", metavar="FILE", type=Path, help="the first frame, PNG or JPEG")
    parser.add_argument("--first_frame", metavar="FILE", type=Path, help="the same, beside --last_frame")
    parser.add_argument("--last_frame", metavar="FILE", type=Path, help="the last frame; its middle, if its shape is another")
    parser.add_argument(
        "--size", metavar="W*H", type=_size,
        help="pixels; with a picture their area, in its proportions (default: 832*480, for the 5B 1280*704)",
    )  # fmt: skip
    parser.add_argument("--frame_num", metavar="N", type=whole(1, 10_001), help="4n + 1 (default: 81, or 121 for ti2v-5B)")
    parser.add_argument("--save_file", metavar="FILE", type=Path, help=".mp4, .png (one frame), or a folder for PNGs")
    parser.add_argument("--base_seed", metavar="N", type=whole(0, MOST_SEED), default=0, help="default: 0; one seed, one video")
    parser.add_argument("--sample_solver", choices=SOLVERS, help="default: the model's")
    parser.add_argument("--sample_steps", metavar="N", type=whole(1, 1000), help="default: the model's")
    parser.add_argument("--sample_shift", metavar="S", type=_positive, help="default: the model's at this size")
    parser.add_argument(
        "--sample_guide_scale", metavar="G[,HIGH]", type=_guidance, help="of both experts, or of the one for low, high noise"
    )
    parser.add_argument(
        "--offload_model", metavar="BOOL", type=_truth, default=True,
        help="True (default): each part is on the device only while it works, and of two experts one; False: all stay",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of all but the VAE (float32 on a CPU, else bfloat16)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> None:
    _refuse_not_here(unknown)
    refuse(unknown)
    if args.image is not None and args.first_frame is not None:
        raise InputError("--image and --first_frame are the same, expected one of them")
    if args.task in STILLS and args.frame_num not in (None, 1):
        raise InputError(f"--frame_num: found {args.frame_num}, expected 1 for {args.task}")
    import jax

    from stage_jax.film.make_video import Wishes, make_video

    wishes = Wishes(
        prompt=args.prompt,
        negative=args.negative_prompt,
        first=args.image or args.first_frame,
        last=args.last_frame,
        like=TASKS[args.task] if args.task else None,
        size=args.size,
        frames=1 if args.task in STILLS else args.frame_num,
        steps=args.sample_steps,
        shift=args.sample_shift,
        guidance=args.sample_guide_scale,
        solver=args.sample_solver,
        seed=args.base_seed,
    )
    dtype = args.dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    with Progress() as progress:
        made = make_video(
            wishes, args.save_file, progress,
            model=args.model, loras=asked_loras(args.lora, args.lora_low), dtype=dtype, keep=not args.offload_model,
        )  # fmt: skip
    how = made.sampling
    low, high = how.guidance
    guidance = f"{high:g}" if low == high else f"{low:g},{high:g}"
    frames = f"{how.frames} frame{'s' if how.frames > 1 else ''} of {made.size[1]}x{made.size[0]}"
    print(f"{made.path}: {frames}, {how.solver}, {how.steps} steps, shift {made.shift:g}, guidance {guidance}")


def _refuse_not_here(unknown: Sequence[str]) -> None:
    """InputError for flags of Wan's program that make no sense here, with what to do instead."""
    for flag in (argument.partition("=")[0] for argument in unknown):
        if flag in NOT_HERE:
            raise InputError(f"{flag}: not a flag of stage video: {NOT_HERE[flag]}")


def _size(text: str) -> tuple[int, int]:
    """Height and width of W*H (or WxH)."""
    sides = text.lower().replace("x", "*").split("*")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and 0 < len(side) < 6 for side in sides):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected W*H, as in 832*480")
    return int(sides[1]), int(sides[0])


def _positive(text: str) -> float:
    value = finite(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number above 0")
    return value


def _guidance(text: str) -> tuple[float, float]:
    """One number for both experts, or LOW,HIGH: Wan's order."""
    numbers = [finite(number) for number in text.split(",")]
    if len(numbers) > 2:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected one number, or LOW,HIGH")
    return numbers[0], numbers[-1]


def _truth(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected True or False")
    return known[text.lower()]
