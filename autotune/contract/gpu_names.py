"""Reads off the name of a GPU its compute capability, what a block may ask for, and whether a driver reports it.

Sources: contracts C1, row by row. What a block may ask for is known of NVIDIA's GPUs alone: files of other vendors' are
not checked for it, since Triton lays out their shared memory in another way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from autotune.contract.gpu import underscored

_KB: Final = 1024

SHARED_BYTES: Final[Mapping[tuple[int, int], int]] = {
    (7, 0): 96 * _KB,
    (7, 5): 64 * _KB,
    (8, 0): 163 * _KB,
    (8, 6): 99 * _KB,
    (8, 7): 163 * _KB,
    (8, 9): 99 * _KB,
    (9, 0): 227 * _KB,
    (10, 0): 227 * _KB,
    (10, 3): 227 * _KB,
    (10, 7): 327 * _KB,
    (11, 0): 227 * _KB,
    (12, 0): 99 * _KB,
    (12, 1): 99 * _KB,
}
"""By compute capability, the largest shared memory one block may ask for (contracts C1)."""

# The first pattern that a name holds between underscores counts: a word of the generation goes before a number, since
# RTX 6000 is the number of a Turing, an Ada and a Blackwell.
_CAPABILITIES: Final = tuple(
    (re.compile(rf"(?:^|_)(?:{words})(?:_|$)", re.IGNORECASE), capability)
    for words, capability in (
        (r"GB10|DGX_Spark", (12, 1)),
        (r"RTX_PRO_\d+|Blackwell|RTX_6000D|RTX_50[5-9]0D?", (12, 0)),
        (r"Thor", (11, 0)),
        (r"B300|GB300", (10, 3)),
        (r"B100|B200|GB200", (10, 0)),
        (r"H100(?:L|XM)?|H200|H800|H20|GH200", (9, 0)),
        (r"Ada|RTX_40[5-9]0D?|L4|L2|L20|L40[SG]?", (8, 9)),
        (r"Orin", (8, 7)),
        (r"A2|A10[GM]?|A16|A40|RTX_A\d+|A6000|RTX_30[5-9]0", (8, 6)),
        (r"A100[DX]?|A800|A30X?", (8, 0)),
        (r"T4G?|T[1245]\d\d\d?|RTX_20[5-8]0|GTX_16[356]0|TITAN_RTX|Quadro_RTX_\d+", (7, 5)),
        (r"V100S?|GV100|TITAN_V", (7, 0)),
    )
)

_H100: Final = ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL")
_A100: Final = ("NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-80GB", "NVIDIA A100-PCIE-40GB", "NVIDIA A100 80GB PCIe")
_PRO_6000: Final = tuple(
    f"NVIDIA RTX PRO 6000 Blackwell {edition} Edition" for edition in ("Workstation", "Max-Q Workstation", "Server")
)
_GENERIC: Final[Mapping[str, tuple[str, ...]]] = {
    "H100": _H100,
    "H100_SXM": _H100[:1],
    "H100_SXM5": _H100[:1],
    "H100_80GB": _H100[:2],
    "A100": _A100,
    "A100_40GB": (_A100[0], _A100[2]),
    "A100_80GB": (_A100[1], _A100[3]),
    "A100_SXM": _A100[:2],
    "A100_SXM4": _A100[:2],
    "A100_PCIE": _A100[2:],
    "A800": ("NVIDIA A800-SXM4-80GB", "NVIDIA A800 80GB PCIe"),
    "V100": ("Tesla V100-SXM2-16GB", "Tesla V100-SXM2-32GB", "Tesla V100-PCIE-16GB", "Tesla V100-PCIE-32GB"),
    "T4": ("Tesla T4",),
    "GH200": ("NVIDIA GH200 480GB", "NVIDIA GH200 144G HBM3e"),
    "B300": ("NVIDIA B300 SXM6 AC",),
    "DGX_SPARK": ("NVIDIA GB10",),
    "RTX_6000_ADA": ("NVIDIA RTX 6000 Ada Generation",),
    "RTX_PRO_6000": _PRO_6000,
    "RTX_PRO_6000_BLACKWELL": _PRO_6000,
    "A5000": ("NVIDIA RTX A5000",),
    "A6000": ("NVIDIA RTX A6000",),
}
_GEFORCE: Final = re.compile(r"(?:RTX_(?:20|30|40|50)[5-9]0|GTX_16[356]0)(?:_(?:TI|SUPER|TI_SUPER|D|LAPTOP_GPU))*")
# Drivers report the Jetsons and virtual GPUs as they are here, all else with its vendor.
_AS_THEY_ARE: Final = re.compile(r"NVIDIA|GRID|TESLA|QUADRO|GEFORCE|ORIN|THOR")


def capability(name: str) -> tuple[int, int] | None:
    """Returns the compute capability of a GPU of this name, however blanks and hyphens are written in it; None of an
    unknown one."""
    spelled = underscored(name)
    return next((found for pattern, found in _CAPABILITIES if pattern.search(spelled)), None)


def shared_bytes(name: str) -> int:
    """Returns the largest shared memory one block may ask for on a GPU of this name; of an unknown one the most that
    any has."""
    found = capability(name)
    return max(SHARED_BYTES.values()) if found is None else SHARED_BYTES[found]


def reported_names(name: str) -> tuple[str, ...]:
    """Returns what drivers call a GPU that a file names in general or without its vendor; empty where its name may be
    one that a driver reports."""
    spelled = underscored(name).strip("_").upper()
    model = spelled.removeprefix("NVIDIA_")
    if (found := _GENERIC.get(model)) is not None:
        return found
    if _GEFORCE.fullmatch(model):
        return (f"NVIDIA GeForce {_restored(model)}",)
    if not _AS_THEY_ARE.match(spelled) and capability(name) is not None:
        return (f"NVIDIA {name.replace('_', ' ')}",)
    return ()


def _restored(model: str) -> str:
    words = {"TI": "Ti", "LAPTOP": "Laptop"}
    return " ".join(words.get(word, word) for word in model.split("_"))
