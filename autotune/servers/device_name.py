"""Names the GPU of this process as a server's lookup in a config folder does."""

from __future__ import annotations

from autotune.errors import InputError


def device_name(folder_variable: str, index: int | None = None) -> str:
    """Returns the name of a GPU, as the driver spells it.

    Args:
        folder_variable: The environment variable that names the config folder, for the message.
        index: Which GPU; None for the one that the process has chosen.

    Raises:
        InputError: If there is none.
    """
    import torch  # here, because defaults and lookups in files must work without torch

    if not torch.cuda.is_available():
        raise InputError(
            f"{folder_variable} is set, but there is no CUDA GPU to name its files; unset it for the defaults"
        )
    return torch.cuda.get_device_name(index)
