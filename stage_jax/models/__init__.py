"""Models as Flax NNX modules: the DiT over token sequences, the text encoder, the video VAE."""
