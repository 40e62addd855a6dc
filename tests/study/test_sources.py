"""Which kernel a study times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune.contract import Call, groups, registry
from autotune.errors import InputError, NotInstalledError
from autotune.servers.vllm.served_modules import DENSE
from autotune.servers.vllm.served_releases import DENSE_SOURCES
from autotune.study.creation import describe_flags
from autotune.study.describe import Request, describe
from autotune.study.sources import notices, reference, refuse_unrunnable
from autotune.study.spec import StudySpec
from tests.builders import copying_kernel, served_vllm


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path, "0.33.0"))


@pytest.fixture
def known(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the stand-in's sources those of a known release."""
    monkeypatch.setitem(DENSE_SOURCES, "0.33.0", DENSE.origin().source_hash)


@pytest.fixture(autouse=True)
def forget() -> None:
    """What was installed is asked anew."""
    registry._served.cache_clear()


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("wanted", "backend", "found"),
    [
        ("auto", "cuda", "lora_shrink@vllm-0.33.0"),
        ("served", "cuda", "lora_shrink@vllm-0.33.0"),
        ("builtin", "cuda", "lora_shrink"),
        ("auto", "replay", "lora_shrink"),
    ],
)
def test_where_the_server_is_installed(wanted: str, backend: str, found: str) -> None:
    assert reference("lora_shrink", wanted, backend) == found


def test_auto_takes_the_built_in_kernel_where_no_server_is() -> None:
    assert reference("lora_shrink", "auto", "cuda") == "lora_shrink"


def test_the_served_kernel_must_be_installed() -> None:
    with pytest.raises(NotInstalledError, match=r"--source served \(or both\): vllm is not installed here"):
        reference("lora_shrink", "served", "cuda")


@pytest.mark.usefixtures("installed")
def test_auto_does_not_hide_two_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "older", "0.31.0"))
    with pytest.raises(InputError, match="2 versions"):
        reference("lora_shrink", "auto", "cuda")


def test_a_kernel_that_no_server_has_cannot_be_served() -> None:
    with pytest.raises(InputError, match=r"--source served \(or both\): got .*allowed: csgmv_expand, .*lora_shrink"):
        reference(f"{copying_kernel.__file__}:KERNEL", "served", "cuda")


def test_times_of_the_built_in_kernels_are_said_to_be() -> None:
    spec = replace(dense_spec(), backend="cuda", source="builtin", kernel="lora_shrink")
    (line,) = notices([spec, spec])
    assert "built-in" in line
    assert "install the tool where vllm is installed" in line
    assert notices([replace(spec, backend="replay")]) == []


@pytest.mark.usefixtures("installed")
def test_beside_an_installed_server_the_remedy_is_a_flag() -> None:
    (line,) = notices([replace(dense_spec(), backend="cuda", source="builtin", kernel="lora_shrink")])
    assert "to time its own kernels, take --source served" in line


@pytest.mark.usefixtures("installed")
def test_no_remedy_is_named_for_an_op_that_the_server_has_no_kernel_of() -> None:
    (line,) = notices([replace(dense_spec(), backend="cuda", source="builtin", kernel="lora_linear")])
    assert "built-in" in line
    assert "--source" not in line, "it would be refused"


@pytest.mark.usefixtures("installed")
def test_nothing_is_said_of_the_built_in_kernels_beside_finished_studies_of_the_servers_own() -> None:
    ours = replace(dense_spec(), backend="cuda", source="builtin", kernel="lora_shrink")
    served = replace(ours, source="vllm", kernel="lora_shrink@vllm-0.33.0")
    assert [line for line in notices([ours], [served]) if "built-in" in line] == []
    assert notices([ours], [replace(served, backend="replay")]) == notices([ours])


@pytest.mark.usefixtures("installed")
def test_a_compiler_that_the_server_does_not_ask_for_is_told() -> None:
    served = replace(dense_spec(), backend="cuda", source="vllm", kernel="lora_shrink@vllm-0.33.0")
    elsewhere = replace(served, environment=replace(served.environment, torch="2.11.0+cu130", triton="3.6.0"))
    (line,) = notices([elsewhere])
    assert "vllm 0.33.0 asks for torch==2.14.0" in line
    assert "Triton 3.6.0" in line
    assert notices([replace(served, environment=replace(served.environment, torch="2.14.0+cu130"))]) == []


def dense_spec() -> StudySpec:
    """Describes a recorded problem of the dense shrink."""
    problem = registry.load("lora_shrink").problem_from_flags(
        {"batch_size": 8192, "hidden_size": 8192, "lora_rank": 64, "num_loras": 8, "num_slices": 2, "dtype": "float16"}
    )
    return describe(Request("lora_shrink", backend="replay"), problem)[1]


@pytest.mark.usefixtures("known")
def test_the_sources_of_the_ops_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = registry.load(reference("lora_shrink", "served", "cuda"))
    monkeypatch.setattr("autotune.servers.source_check.source_hash", lambda files: pytest.fail("hashed again"))
    assert kernel.origin() == kernel.origin()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kernel", ["lora_shrink", "lora_shrink@vllm-0.33.0"])
def test_a_release_of_unknown_sources_is_refused_wherever_a_kernel_is_chosen(kernel: str) -> None:
    with pytest.raises(InputError, match="--allow-unknown-server"):
        reference(kernel, "auto", "cuda")
    assert reference(kernel, "auto", "cuda", allow_unknown_server=True) == "lora_shrink@vllm-0.33.0"


def test_a_server_that_is_gone_keeps_no_other_study_from_its_notice() -> None:
    ours = replace(dense_spec(), backend="cuda", source="builtin", kernel="lora_shrink")
    gone = replace(ours, source="vllm", kernel="lora_shrink@vllm-0.33.0")
    assert notices([gone]) == []
    assert notices([gone, ours]) == notices([ours])


@pytest.mark.usefixtures("installed")
def test_a_group_of_the_servers_own_kernels_is_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = dense_spec()
    monkeypatch.setattr("autotune.study.describe.current_gpu", lambda: machine.gpu)
    monkeypatch.setattr("autotune.study.describe.current_environment", lambda: machine.environment)
    flags = {"dtype": "float16", "hidden_size": 2048, "lora_rank": 16, "num_loras": 4, "moe_intermediate_size": 768}
    request = Request("fused_moe_lora", "cuda", source="served", allow_unknown_server=True)
    specs = describe_flags(request, flags, (64, 128))
    assert {spec.source for spec in specs.values()} == {"vllm"}
    assert sorted({str(spec.group) for spec in specs.values()}) == [
        f"fused_moe_lora@vllm-0.33.0-one-shot-m{m}-h2048-i768-r16-s2-e8-top2-l4-float16-NVIDIA_H200" for m in (128, 64)
    ]
    for spec in specs.values():
        kind, path = groups.kind_of(spec.kernel)
        assert (kind.name, path) == ("fused_moe_lora", "one-shot")
    assert all(name.startswith(spec.kernel) for name, spec in specs.items())


@pytest.mark.parametrize("server", ["vllm", None, "mine"])
def test_a_kernel_of_a_server_that_there_is_not_is_refused(server: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a study of it is stored, which no run, report or export could take."""
    kernel, problem = copying_kernel.KERNEL, copying_kernel.CopyProblem(7)
    monkeypatch.setattr(kernel, "call", lambda problem: server and Call(server, "shrink", {}))
    if server != "mine":
        refuse_unrunnable(kernel, problem)
        return
    with pytest.raises(InputError, match="copy: its lookup is of server 'mine', allowed: sglang, vllm"):
        refuse_unrunnable(kernel, problem)
