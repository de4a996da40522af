"""From a story to a film of many shots: STAGE, DreamShot and OneStory on the Wan video DiT, in JAX."""

__version__ = "0.1.0"
