"""Semantic ids by text prompts: CLIPSeg (Lüddecke and Ecker, CVPR 2022) of the transformers library.

SuperFlow++ prompts a text-driven segmenter with "There is a <class> in the scene" [F]; which segmenter is
our choice [O].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pc3d.data.images import load_image
from pc3d.data.records import Sweep
from pc3d.regions.semantics.inference import inference
from pc3d.regions.semantics.params import SEMANTIC_CLASSES, SemanticParams


def prompts(template: str) -> list[str]:
    """The text for each of `SEMANTIC_CLASSES`; `{}` in the template stands for the class."""
    return [template.format(name.replace("_", " ")) for name in SEMANTIC_CLASSES]


def semantic_ids(sweep: Sweep, params: SemanticParams) -> dict[str, NDArray[np.int16]]:
    """By camera name an int16 map of the index in `SEMANTIC_CLASSES` of the prompt that fits best.

    Raises:
        DataError: an image is missing. OSError: there is no such model.
    """
    segmenter = Segmenter.load(params.model)
    texts = prompts(params.prompt)
    maps = {}
    for camera in sweep.cameras:
        scores = segmenter.scores(
            load_image(camera.path, sweep.token, size=camera.size, key=camera.key), texts
        )
        maps[camera.name] = scores.argmax(dim=0).cpu().numpy().astype(np.int16)
    return maps


@dataclass(frozen=True, eq=False)
class Segmenter:
    """CLIPSeg and its processor."""

    network: Any
    processor: Any

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls, model: str) -> Segmenter:
        """From a local folder or a hub name.

        Raises:
            OSError: neither is there.
        """
        from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

        try:
            network = CLIPSegForImageSegmentation.from_pretrained(model).eval()
            return cls(network, CLIPSegProcessor.from_pretrained(model))
        except OSError as error:
            raise OSError(
                f"no CLIPSeg model {model!r}: no local folder, no name that the hub answers to; "
                "give the folder of a downloaded one with --semantics-model"
            ) from error

    def scores(self, image: NDArray[np.uint8], texts: list[str]) -> Tensor:
        """(T, H', W') logits of T texts on an (H, W, 3) image, at the size that the network works in.

        The image is encoded once for all texts, which `CLIPSegForImageSegmentation.forward` does once each.
        """
        with inference() as device:
            network = self.network.to(device)
            inputs = self.processor(text=texts, images=[image], padding=True, return_tensors="pt").to(device)
            words = network.get_conditional_embeddings(
                len(texts), input_ids=inputs.input_ids, attention_mask=inputs.attention_mask
            )
            seen = network.clip.vision_model(pixel_values=inputs.pixel_values, output_hidden_states=True)
            layers = [seen.hidden_states[i + 1].expand(len(texts), -1, -1) for i in network.extract_layers]
            return network.decoder(layers, words).logits
