"""How many products and sums a device can do, for the share of it that a run makes use of."""

from __future__ import annotations

import jax

# Dense bfloat16 FLOP/s of one JAX device, from the makers' data sheets. A v7x chip is two devices.
PEAKS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "TPU7x": 1153.5e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100 80GB HBM3": 989.5e12,
    "NVIDIA H200": 989.5e12,
    "NVIDIA B200": 2250e12,
}


def peak_flops(given: float | None = None) -> float | None:
    """Of one device of this process: `given`, or the table's; None where nobody knows, as of a processor. NVIDIA adds memory
    and socket to the names of its devices."""
    kind = jax.local_devices()[0].device_kind
    if given is not None or kind in PEAKS:
        return given or PEAKS[kind]
    return next((peak for name, peak in PEAKS.items() if name.startswith("NVIDIA") and kind.startswith(name)), None)
