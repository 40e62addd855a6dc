"""What the command line asks of the servers: calls from flags, flags of one server, GPUs of folders, how to serve."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from autotune import servers
from autotune.cli.flags.table import FLAGS
from autotune.contract import Call
from autotune.errors import InputError

DENSE = {"max_loras": 4, "num_slices": 3, "m": 24, "k": 4096, "n": 16}
CSGMV = {"k": 1024, "lora_rank": 64, "num_slices": 3, "chunk_size": 16}


@pytest.mark.parametrize(
    ("server", "op", "flags", "call"),
    [
        ("vllm", "shrink", DENSE, Call("vllm", "shrink", {**DENSE, "max_loras": 5})),
        ("vllm", "expand", DENSE, Call("vllm", "expand", {**DENSE, "max_loras": 5, "add_inputs": 1})),
        (
            "vllm",
            "expand",
            {**DENSE, "expand_add_inputs": 0},
            Call("vllm", "expand", {**DENSE, "max_loras": 5, "add_inputs": 0}),
        ),
        (
            "vllm",
            "fused_moe_lora_w13_shrink",
            {**DENSE, "intermediate": 768},
            Call("vllm", "fused_moe_lora_w13_shrink", {**DENSE, "i": 768}),
        ),
        (
            "sglang",
            "expand",
            {**CSGMV, "triton": "triton_3_6_0"},
            Call("sglang", "expand", {"K": 1024, "R": 64, "S": 3, "chunk_size": 16}, "3.6.0"),
        ),
    ],
)
def test_flags_describe_a_call(server: str, op: str, flags: dict[str, int], call: Call) -> None:
    assert servers.get(server).command_line.call(op, flags) == call


@pytest.mark.parametrize(("server", "flags"), [("vllm", DENSE), ("sglang", CSGMV)])
def test_a_missing_flag_is_named_with_all_that_are_needed(server: str, flags: dict[str, int]) -> None:
    for name in flags:
        rest = {other: value for other, value in flags.items() if other != name}
        with pytest.raises(InputError) as caught:
            servers.get(server).command_line.call("shrink", rest)
        spelled = [f"--{each.replace('_', '-')}" for each in flags]
        assert str(caught.value).startswith(f"--{name.replace('_', '-')}: not given")
        assert all(each in str(caught.value) for each in spelled)


def test_an_op_without_files_is_refused() -> None:
    with pytest.raises(InputError, match="SGLang reads no file"):
        servers.get("sglang").command_line.call("fused_moe_lora_w2_shrink", CSGMV)


def test_every_servers_own_flags_are_flags_and_no_others() -> None:
    for kind in ("problem", "plan", "lookup"):
        owned = [flag for name in servers.names() for flag in getattr(servers.get(name).command_line.own_flags, kind)]
        assert len(owned) == len(set(owned))
        assert set(owned) <= set(FLAGS)
        for name in servers.names():
            for flag in getattr(servers.get(name).command_line.own_flags, kind):
                assert servers.owner_of_flag(kind, flag) == name
    assert servers.owner_of_flag("plan", "max_loras") is None


@pytest.mark.parametrize(
    ("server", "file", "gpu"),
    [
        ("vllm", "NVIDIA_H200_SHRINK.json", "NVIDIA_H200"),
        ("vllm", "below/NVIDIA_H200_SHRINK.json", None),
        ("vllm", "NVIDIA_H200_SHRINK_tuned_1.json", None),
        ("sglang", "csgmv_configs/triton_3_6_0/lora_shrink,K=1,R=1,S=1,device=NVIDIA_H200.json", "NVIDIA_H200"),
        ("sglang", "NVIDIA_H200_SHRINK.json", None),
    ],
)
def test_the_gpu_of_a_file(server: str, file: str, gpu: str | None) -> None:
    assert servers.get(server).command_line.gpu_of_file(Path(file)) == gpu


def test_the_gpu_of_a_folder(tmp_path: Path) -> None:
    command_line = servers.get("vllm").command_line
    with pytest.raises(InputError, match="files of: none"):
        command_line.gpu_in(tmp_path)
    (tmp_path / "NVIDIA_H200_SHRINK.json").touch()
    (tmp_path / "NVIDIA_H200_EXPAND_TRUE.json").touch()
    assert command_line.gpu_in(tmp_path) == "NVIDIA_H200"
    (tmp_path / "NVIDIA_L4_SHRINK.json").touch()
    with pytest.raises(InputError, match="NVIDIA_H200, NVIDIA_L4; name one"):
        command_line.gpu_in(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        command_line.gpu_in(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("server", "variable"), [("vllm", "VLLM_TUNED_CONFIG_FOLDER"), ("sglang", "SGLANG_LORA_CONFIG_DIR")]
)
def test_how_to_serve_with_a_folder(server: str, variable: str) -> None:
    line = servers.get(server).command_line
    assert line.serve(Path("tuned")).startswith(f"{variable}={Path('tuned').resolve()} ")
    spaced = Path("it's tuned\nhere")
    assert shlex.split(line.serve(spaced))[0] == f"{variable}={spaced.resolve()}"
