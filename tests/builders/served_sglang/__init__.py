"""A stand-in for SGLang's package: csgmv ops of its names and signatures, in plain torch, over kernels that only note
their launches."""

from __future__ import annotations

import sys
from pathlib import Path

from autotune.contract import registry
from autotune.servers.sglang import served_modules

FILES = Path(__file__).parent / "files"

FOLDERS = {
    "0.5.15": "sglang.srt.lora.triton_ops",
    "0.5.21": "sglang.kernels.ops.gemm",
    "0.5.23": "sglang.kernels.ops.lora.dense",
}
"""By release, where it has the ops."""

_WITHOUT_OFFSETS = ("0.5.15", "0.5.21")
"""Releases whose expand takes the slices' offsets on the GPU alone."""

_ELSEWHERE = {
    "batch": "sglang.srt.lora.utils",
    "cached_kernel": "sglang.srt.utils",
    "chunked_backend": "sglang.srt.lora.backend.chunked_backend",
    "lora_registry": "sglang.srt.lora.backend.lora_registry",
}


def install(folder: Path, version: str = "0.5.23") -> Path:
    """Lays the package out in a folder that goes on the path; returns the folder."""
    ops = FOLDERS.get(version, FOLDERS["0.5.23"])
    for source in FILES.glob("*.txt"):
        module = _ELSEWHERE.get(source.stem, f"{ops}.{source.stem}")
        file = folder.joinpath(*module.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text().replace("OPS", ops)
        if version in _WITHOUT_OFFSETS:
            lines = [line for line in text.splitlines() if "slice_offsets_cpu=kwargs" not in line]
            text = "\n".join(lines).replace(", slice_offsets_cpu=None", "")
            text = text.replace("slice_offsets_cpu", "slice_offsets")
        file.write_text(text)
    for package in (path for path in (folder / "sglang").rglob("*") if path.is_dir()):
        (package / "__init__.py").touch()
    (folder / "sglang" / "__init__.py").touch()
    info = folder / f"sglang-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: sglang\nVersion: {version}\nRequires-Dist: torch==2.14.1\n"
    )
    return folder


def forget() -> None:
    """Makes this process ask anew what is installed."""
    served_modules.imported.cache_clear()
    registry._served.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "sglang"]:
        del sys.modules[name]
