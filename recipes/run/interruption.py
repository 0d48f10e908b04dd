"""Ctrl-C while a model is trained: written down, and looked at after each step."""

from __future__ import annotations

from typing import Any

import verify.console.signals


class Interruption(verify.console.signals.Interruption):
    """Looked at by Keras after every batch, with `callback`."""

    def callback(self) -> Any:
        """A keras.callbacks.Callback that looks after every batch and epoch."""
        from keras.callbacks import Callback

        look = self.raise_if_received

        class Look(Callback):  # type: ignore[misc]
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                look()

            def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
                look()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                look()

        return Look()
