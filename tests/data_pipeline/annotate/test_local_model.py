"""Models of transformers, tiny and random: what they are asked, and that their nonsense goes nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

from data_pipeline.annotate.detectors import Faces, Watermark
from data_pipeline.annotate.film import annotate_film
from data_pipeline.annotate.local_model import LocalModel
from data_pipeline.annotate.model import ModelError, Question
from data_pipeline.annotate.parts import Asked, open_parts
from stage_jax.errors import InputError
from tests.data_pipeline.annotate.films import write_film

pytestmark = pytest.mark.torch
WORDS = ["<unk>", "<pad>", "<s>", "</s>", "<image>", "frames", "of", "one", "shot", "{", "}", "caption"]
TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}"
    "{% endif %}{% endfor %}{% endfor %}"
)
SIZE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LLaVA with one layer: 4 tokens a picture."""
    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    pictures = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default", chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SIZE, image_size=28, patch_size=14, projection_dim=16),
        text_config=LlamaConfig(**SIZE, num_key_value_heads=2, vocab_size=len(WORDS), max_position_embeddings=256),
        image_token_id=WORDS.index("<image>"), vision_feature_layer=-1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("vlm")
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_vision_model_answers_and_its_nonsense_goes_nowhere(vlm: Path, tmp_path: Path) -> None:
    write_film(tmp_path / "bunny")
    (captioner,) = open_parts(Asked(vlm=vlm, attempts=2, workers=2), tmp_path / "answers")
    captioner.asker.model.tokens = 8
    told = annotate_film(tmp_path / "bunny", [captioner])
    problems = [
        json.loads(line)["problems"] for line in (tmp_path / "bunny" / "annotations.jsonl").read_text().splitlines()[:3]
    ]
    assert all("an answer that cannot be taken" in problem for (problem,) in problems)
    assert all(shot.shot.description == "" for shot in told.shots) and not (tmp_path / "answers").exists()
    model = LocalModel(vlm, tokens=3)
    assert model.name.startswith(vlm.name) and model.name.endswith(" 3")
    picture = (tmp_path / "bunny" / "SC01_SH010_start.png").read_bytes()
    answers = {model.answer(Question("one shot", (picture,) * 2, {})) for _ in range(2)}
    assert len(answers) == 1 and len(answers.pop().split()) <= 3
    with pytest.raises(ModelError):
        model.answer(Question("one <image> shot", (picture,), {}))


def test_scores_of_detectors(tmp_path: Path) -> None:
    """Against the models themselves."""
    torch.manual_seed(0)
    labels = {0: "clean", 1: "Watermark"}
    classifier = ViTForImageClassification(ViTConfig(**SIZE, image_size=32, patch_size=16, id2label=labels)).eval()
    pictures = ViTImageProcessor(size={"height": 32, "width": 32})
    for part in (classifier, pictures):
        part.save_pretrained(tmp_path / "watermark")
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    with torch.no_grad():
        logits = classifier(**pictures(picture, return_tensors="pt")).logits[0]
    assert Watermark(tmp_path / "watermark")(picture) == pytest.approx(float(logits.softmax(-1)[1]), abs=1e-4)

    config = YolosConfig(**SIZE, image_size=[32, 32], patch_size=16, num_detection_tokens=4, id2label={0: "Face", 1: "hand"})
    detector = YolosForObjectDetection(config).eval()
    with torch.no_grad():
        detector.class_labels_classifier.layers[-1].bias.copy_(torch.tensor([9.0, 0.0, 0.0]))  # each of the 4 is a face
    for part in (detector, YolosImageProcessor(size={"height": 32, "width": 32})):
        part.save_pretrained(tmp_path / "faces")
    assert Faces(tmp_path / "faces")(picture) == 4
    detector.config.id2label = {0: "head", 1: "hand"}
    for part in (detector, YolosImageProcessor(size={"height": 32, "width": 32})):
        part.save_pretrained(tmp_path / "heads")
    with pytest.raises(InputError, match=r"found the classes hand, head, expected one called 'face'"):
        Faces(tmp_path / "heads")
    with pytest.raises(InputError, match=r"not a model for image-text-to-text|expected"):
        LocalModel(tmp_path / "watermark")
