"""Packaging of stage_jax. The versions that tests run with are in requirements.lock (core and `dev`)."""

from __future__ import annotations

from setuptools import find_packages, setup

CORE = [
    "jax>=0.10",  # 3.11 gets 0.10, newer Pythons 0.12
    "flax>=0.12.8",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12",
    "grain>=0.2.18",
    "tensorflow-datasets>=4.9.10",
    "transformers>=5",
    "ml_collections>=1.1",
    "einops>=0.8",
    "ftfy>=6.3",
    "clu>=0.0.12",
    "absl-py>=2.3",
    "av>=16",
    "cloudpickle>=3",
    "fonttools>=4.60",
    "fpdf2>=2.8.9",
    "importlib_resources>=6",  # tensorflow-datasets needs it to read a builder's metadata and does not declare it
    "jaxtyping>=0.3.3",
    "numpy>=2.1",
    "opencv-python-headless>=4.12",
    "opentimelineio>=0.18.1",
    "otio-cmx3600-adapter>=1.0.0",
    "pillow>=12",
    "safetensors>=0.6",
    "scenedetect-headless>=0.7.2",  # scenedetect itself pulls the GUI build of OpenCV
    "uharfbuzz>=0.50",  # fpdf2 lays out right-to-left scripts with it
]
JAX_311, JAX_312 = 'python_version < "3.12"', 'python_version >= "3.12"'
EXTRAS = {
    "dev": [
        "beartype>=0.22",
        "import-linter>=2.5",
        "matplotlib>=3.10",  # training curves for docs/
        "pytest>=9",
        "pytest-xdist>=3.8",  # two test processes
        "ruff>=0.14",
        "setuptools>=77",  # builds the package itself, without a download
    ],
    "torch": [
        "torch==2.13.0",
        "accelerate==1.15.0",
        "diffusers==0.42.1",
        "peft==0.21.2",
        "sentencepiece==0.2.3",
        "transformers==5.23.0",
    ],
    "tpu": [f"jax[tpu]==0.10.2; {JAX_311}", f"jax[tpu]==0.12.0.1; {JAX_312}"],
    "cuda": [f"jax[cuda13]==0.10.2; {JAX_311}", f"jax[cuda13]==0.12.0.1; {JAX_312}"],
    "beam": ["apache-beam==2.77.0"],
}

setup(
    name="stage_jax",
    version="0.1.0",
    description="From a story to a film of many shots, on the Wan video DiT, in JAX",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["stage_jax*", "data_pipeline*"]),
    package_data={"stage_jax": ["assets/**", "film/*.css", "film/*.js"]},
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["stage = stage_jax.cli.main:main"]},
)
