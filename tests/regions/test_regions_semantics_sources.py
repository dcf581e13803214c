"""Semantic ids from PNG files, and by text prompts with a tiny CLIPSeg made from a configuration."""

from __future__ import annotations

import io
import json
import string
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pc3d.data.errors import DataError
from pc3d.data.images import load_image
from pc3d.data.index import SweepIndex
from pc3d.data.label_maps import NUSCENES_LIDARSEG_CLASSES
from pc3d.regions.build import build_sweep, open_cache
from pc3d.regions.key_frame import key_frames
from pc3d.regions.semantics import SEMANTIC_CLASSES, SemanticParams
from pc3d.regions.semantics.png import load_ids
from pc3d.regions.semantics.text import Segmenter, prompts, semantic_ids


def test_png_maps_of_a_key_frame(tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    frame = next(key_frames(index, index.key_rows(None)))
    maps = {}
    for number, camera in enumerate(frame.now.cameras):
        maps[camera.name] = np.array([[0, number, 7], [255, 9, 1]], np.uint8)
        path = tmp_path / "maps" / camera.name / f"{camera.path.stem}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(maps[camera.name]).save(path)
    kinds = {"semantics": SemanticParams(source="png", folder=str(tmp_path / "maps"))}
    assert not build_sweep(frame, str(tmp_path), kinds).failures  # type: ignore[arg-type]
    got = open_cache(tmp_path, "semantics", kinds["semantics"]).load_all(frame.now.token)
    for name, ids in maps.items():
        np.testing.assert_array_equal(got[name], np.where(ids == 255, -1, ids.astype(np.int16)))
    path.unlink()
    (failure,) = build_sweep(frame, str(tmp_path / "again"), kinds).failures  # type: ignore[arg-type]
    assert "an id map is missing" in failure.error
    assert path.name in failure.error


def test_png_of_16_bits_and_of_a_palette(tmp_path: Path) -> None:
    ids = np.array([[0, 255, 300], [32766, 65535, 5]], np.uint16)
    Image.fromarray(ids).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(load_ids(tmp_path / "deep.png"), [[0, 255, 300], [32766, -1, 5]])
    palette = Image.fromarray(np.array([[3, 255]], np.uint8), mode="P")
    palette.putpalette([value for index in range(256) for value in (255 - index, 0, index)])
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(load_ids(tmp_path / "palette.png"), [[3, -1]])


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        pytest.param(np.zeros((2, 2, 3), np.uint8), "mode RGB", id="colour"),
        pytest.param(np.zeros((2, 2, 4), np.uint8), "mode RGBA", id="alpha"),
        pytest.param(np.zeros((2, 2), bool), "mode 1", id="one bit"),
        pytest.param(np.array([[32767]], np.uint16), "the id 32767", id="too large"),
        pytest.param(None, "cannot be read", id="no picture"),
    ],
)
def test_what_is_no_id_map(tmp_path: Path, pixels: np.ndarray | None, words: str) -> None:
    path = tmp_path / "map.png"
    if pixels is None:
        path.write_bytes(b"nothing")
    else:
        Image.fromarray(pixels).save(path)
    with pytest.raises(DataError, match=words):
        load_ids(path)


def test_an_id_map_covers_its_image(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    Image.fromarray(np.zeros((25, 44), np.uint8)).save(path)
    assert load_ids(path, (400, 225)).shape == (25, 44)
    with pytest.raises(DataError, match=r"shape \(25, 44\) .* image is 225 x 400[\s\S]*map.png"):
        load_ids(path, (225, 400))
    shades = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    png = io.BytesIO()
    shades.convert("P").save(png, "PNG", bits=4)
    packed = bytearray(png.getvalue())
    packed[25] = 0  # grey of 4 bits: Pillow reads shade 3 as 51
    packed[29:33] = zlib.crc32(packed[12:29]).to_bytes(4, "big")
    path.write_bytes(packed)
    with pytest.raises(DataError, match="less than 8 bits"):
        load_ids(path)


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny CLIPSeg of random weights, a tokenizer that spells, and an image processor."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    folder = tmp_path_factory.mktemp("clipseg")
    tokens = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    files = {
        "vocab.json": {token: number for number, token in enumerate(tokens)},
        "tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77},
        "preprocessor_config.json": {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": 32, "width": 32},
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
        "processor_config.json": {"processor_class": "CLIPSegProcessor"},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    width = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    end = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": len(tokens) - 1}
    config = CLIPSegConfig(
        text_config={**width, **end, "vocab_size": len(tokens), "num_hidden_layers": 2},
        vision_config={**width, "num_hidden_layers": 3, "image_size": 32, "patch_size": 8},
        projection_dim=8,
        reduce_dim=8,
        extract_layers=[0, 2],
        decoder_num_attention_heads=2,
        decoder_intermediate_size=8,
    )
    torch.manual_seed(0)
    network = CLIPSegForImageSegmentation(config)
    # The films' initial weights are so small that every text would say the same.
    torch.nn.init.normal_(network.decoder.film_mul.weight)
    network.save_pretrained(folder)
    return folder


def test_prompts_name_the_classes_in_their_order() -> None:
    texts = prompts(SemanticParams().prompt)
    assert (*NUSCENES_LIDARSEG_CLASSES, "sky") == SEMANTIC_CLASSES
    assert len(texts) == 17
    assert texts[7] == "There is a traffic cone in the scene"
    assert texts[-1] == "There is a sky in the scene"
    assert prompts("{}!")[3] == "car!"


def test_text_ids_are_the_best_prompt_of_each_pixel(clipseg: Path, tiny_index: Path) -> None:
    """Against the library's own forward pass, one prompt at a time and pixel by pixel."""
    from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

    index = SweepIndex.open(tiny_index)
    sweep = index[int(index.key_rows(None)[0])]
    sweep = replace(sweep, cameras=sweep.cameras[:2])
    params = SemanticParams(source="text", model=str(clipseg), prompt="a {} here")
    got = semantic_ids(sweep, params)
    assert list(got) == [camera.name for camera in sweep.cameras]
    network = CLIPSegForImageSegmentation.from_pretrained(clipseg).eval()
    processor = CLIPSegProcessor.from_pretrained(clipseg)
    for camera in sweep.cameras:
        best = np.full((32, 32), -np.inf)
        ids = np.full((32, 32), -1)
        for number, name in enumerate(SEMANTIC_CLASSES):
            text = f"a {name.replace('_', ' ')} here"
            inputs = processor(text=[text], images=[load_image(camera.path)], return_tensors="pt")
            with torch.no_grad():
                score = network(**inputs).logits.reshape(32, 32).numpy()
            ids[score > best] = number
            best = np.maximum(best, score)
        assert got[camera.name].dtype == np.int16
        # A padded batch rounds differently from a single text.
        assert (got[camera.name] == ids).mean() > 0.99
        assert len(np.unique(ids)) > 3


def test_text_ids_through_the_cache(clipseg: Path, tiny_index: Path, tmp_path: Path) -> None:
    index = SweepIndex.open(tiny_index)
    frame = next(key_frames(index, index.key_rows("sim_val")))
    params = SemanticParams(source="text", model=str(clipseg))
    summary = build_sweep(frame, str(tmp_path), {"semantics": params})
    assert not summary.failures
    assert summary.statistics()["semantics"]["share with an id"] == 1
    maps = open_cache(tmp_path, "semantics", params).load_all(frame.now.token)
    assert {ids.shape for ids in maps.values()} == {(32, 32)}


def test_a_model_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OSError, match="--semantics-model"):
        Segmenter.load(str(tmp_path))
