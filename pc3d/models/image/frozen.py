"""Freezing of an image encoder, as a teacher is."""

from __future__ import annotations

from typing_extensions import Self

from pc3d.models.image.base import ImageEncoder


class FreezableImageEncoder(ImageEncoder):
    """An image encoder that is a frozen teacher or a trained student, as its constructor says."""

    def freeze(self, frozen: bool) -> None:
        """Set `frozen`, the parameters' `requires_grad` and the mode; call it when all modules exist."""
        self.frozen = frozen
        self.requires_grad_(not frozen)
        self.train(not frozen)

    def train(self, mode: bool = True) -> Self:
        """Training mode, but never for a frozen encoder."""
        return super().train(mode and not self.frozen)
