"""What GPUs' names tell: each spelling that drivers report has its generation's shared memory, and no other does."""

from __future__ import annotations

import pytest

from autotune.contract.gpu_names import SHARED_BYTES, capability, reported_names, shared_bytes

REPORTED = {
    "Tesla V100-SXM2-32GB": (7, 0),
    "Tesla T4": (7, 5),
    "NVIDIA GeForce RTX 2080 Ti": (7, 5),
    "Quadro RTX 6000": (7, 5),
    "NVIDIA A100-SXM4-80GB": (8, 0),
    "NVIDIA A100 80GB PCIe": (8, 0),
    "NVIDIA A30": (8, 0),
    "NVIDIA A10": (8, 6),
    "NVIDIA A10G": (8, 6),
    "NVIDIA A40": (8, 6),
    "NVIDIA RTX A5000": (8, 6),
    "NVIDIA RTX A6000": (8, 6),
    "NVIDIA GeForce RTX 3090": (8, 6),
    "NVIDIA GeForce RTX 3080 Ti Laptop GPU": (8, 6),
    "NVIDIA L4": (8, 9),
    "NVIDIA L20": (8, 9),
    "NVIDIA L40S": (8, 9),
    "NVIDIA GeForce RTX 4090": (8, 9),
    "NVIDIA GeForce RTX 4090 D": (8, 9),
    "NVIDIA RTX 6000 Ada Generation": (8, 9),
    "NVIDIA RTX 4000 SFF Ada Generation": (8, 9),
    "NVIDIA H100 80GB HBM3": (9, 0),
    "NVIDIA H100 PCIe": (9, 0),
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb": (9, 0),
    "NVIDIA H20-3e": (9, 0),
    "NVIDIA H200 NVL": (9, 0),
    "NVIDIA GH200 480GB": (9, 0),
    "NVIDIA B200": (10, 0),
    "NVIDIA GB200": (10, 0),
    "NVIDIA B300 SXM6 AC": (10, 3),
    "NVIDIA Thor": (11, 0),
    "NVIDIA GeForce RTX 5090": (12, 0),
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": (12, 0),
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": (12, 0),
    "NVIDIA RTX PRO 4000 Blackwell": (12, 0),
    "NVIDIA GB10": (12, 1),
    "Tesla V100-PCIE-16GB": (7, 0),
    "NVIDIA TITAN RTX": (7, 5),
    "NVIDIA A100-SXM-64GB": (8, 0),
    "GRID A100D-40C": (8, 0),
    "NVIDIA A800-SXM4-80GB": (8, 0),
    "NVIDIA A2": (8, 6),
    "NVIDIA A16": (8, 6),
    "NVIDIA A40-48Q": (8, 6),
    "NVIDIA RTX A4000": (8, 6),
    "NVIDIA GeForce RTX 3060": (8, 6),
    "NVIDIA L2": (8, 9),
    "NVIDIA L40": (8, 9),
    "NVIDIA RTX 5000 Ada Generation": (8, 9),
    "NVIDIA RTX 2000 Ada Generation": (8, 9),
    "NVIDIA GeForce RTX 4060 Ti": (8, 9),
    "NVIDIA H100 NVL": (9, 0),
    "NVIDIA H100L-94C": (9, 0),
    "NVIDIA H800": (9, 0),
    "NVIDIA H20": (9, 0),
    "NVIDIA H200": (9, 0),
    "NVIDIA GH200 144G HBM3e": (9, 0),
    "NVIDIA GB300": (10, 3),
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": (12, 0),
    "NVIDIA RTX PRO 5000 Blackwell": (12, 0),
    "NVIDIA RTX PRO 2000 Blackwell Generation Laptop GPU": (12, 0),
    "NVIDIA RTX 6000D": (12, 0),
    "NVIDIA GeForce RTX 5070 Ti": (12, 0),
    "NVIDIA GeForce RTX 5090 D": (12, 0),
}


@pytest.mark.parametrize("name", REPORTED)
@pytest.mark.parametrize("spelled", [str, lambda name: name.replace(" ", "_"), lambda name: name.replace("-", "_")])
def test_reported_names_tell_the_shared_memory(name: str, spelled: type[str]) -> None:
    assert capability(spelled(name)) == REPORTED[name]
    assert shared_bytes(spelled(name)) == SHARED_BYTES[REPORTED[name]]
    assert reported_names(spelled(name)) == ()


@pytest.mark.parametrize("name", ["NVIDIA L20Y", "AMD Instinct MI300X", "my GPU", "NVIDIA RTX 9999"])
def test_an_unknown_gpu_has_the_most(name: str) -> None:
    assert capability(name) is None
    assert shared_bytes(name) == max(SHARED_BYTES.values())


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("NVIDIA_H100", ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL")),
        ("H100", ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL")),
        ("NVIDIA_RTX_4090", ("NVIDIA GeForce RTX 4090",)),
        ("NVIDIA-RTX-4070-Ti-SUPER", ("NVIDIA GeForce RTX 4070 Ti SUPER",)),
        ("NVIDIA_T4", ("Tesla T4",)),
        ("H200", ("NVIDIA H200",)),
        ("L40S", ("NVIDIA L40S",)),
        ("NVIDIA_RTX_6000_Ada", ("NVIDIA RTX 6000 Ada Generation",)),
    ],
)
def test_general_names_lead_to_the_reported_ones(name: str, reported: tuple[str, ...]) -> None:
    assert reported_names(name) == reported
    assert all(reported_names(each) == () for each in reported)
