"""Puts our csgmv kernels in SGLang's place: the entry point ``lora_autotune`` of ``sglang.srt.plugins``.

The server loads it in every process, before the model (contracts B9). It does nothing unless ``LORA_AUTOTUNE_KERNELS``
is set, and never raises: what goes wrong is one line in the log, and the server's own kernels run.
"""

from __future__ import annotations

from autotune.servers.plugin.start import start


def register() -> None:
    """Puts our kernels in the place of the server's, once, where the switch asks for it and they are proven."""
    start(__name__)
