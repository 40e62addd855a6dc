"""SGLang's own csgmv ops as kernels, on a stand-in package of the same signatures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr

from autotune.contract import AnyKernel, Problem, registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.errors import InputError
from autotune.measure import recording
from autotune.servers.sglang import facts, served_modules
from autotune.servers.sglang.served_modules import CSGMV
from autotune.testing.problems import problems_of
from tests.builders import served_sglang

KERNELS = ("csgmv_shrink", "csgmv_expand")
RELEASES = tuple(served_sglang.FOLDERS)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str = "0.5.23") -> None:
    monkeypatch.syspath_prepend(served_sglang.install(folder, version))
    served_sglang.forget()


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts the stand-in on the path, and forgets it afterwards."""
    install(tmp_path, monkeypatch)
    yield
    served_sglang.forget()


def served(name: str) -> AnyKernel:
    return registry.load(f"{name}@sglang")


def small(kernel: AnyKernel) -> list[Problem]:
    return [p for p in problems_of(kernel) if getattr(p, "dtype", "") == "float16" and kernel.floor(p).flops < 1e6]


def launched(name: str) -> list[Any]:
    """Returns what the stand-in's kernel was launched with."""
    module = served_modules.imported(name.replace("csgmv", "chunked_sgmv"))
    kernel = getattr(module, f"_{name.replace('csgmv', 'chunked_lora')}_kernel")
    found: list[Any] = kernel.fn.launched
    return found


@pytest.mark.parametrize("name", KERNELS)
def test_it_computes_what_the_op_computes(name: str) -> None:
    kernel = served(name)
    assert len(small(kernel)) > 3
    for problem in small(kernel):
        inputs = kernel.make_inputs(problem, "cpu", 3)
        kernel.poison(inputs)
        expected = kernel.reference(inputs, torch.float64)
        config = kernel.default_config(problem, H200)
        error = (kernel.run(inputs, config).double() - expected.value).abs()
        assert bool((error <= expected.bound(config)).all())


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("name", KERNELS)
def test_the_ops_are_found_where_a_release_has_them(
    name: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    install(tmp_path / "elsewhere", monkeypatch, version)
    kernel = served(name)
    assert kernel.name == f"{name}@sglang-{version}"
    problem = small(kernel)[0]
    kernel.run(kernel.make_inputs(problem, "cpu", 0), kernel.default_config(problem, H200))
    assert launched(name)


@pytest.mark.parametrize("name", KERNELS)
def test_the_config_under_test_is_launched_and_the_lookup_is_left_alone(name: str) -> None:
    """What a config leaves to Triton is not passed, and a kernel that is kept of another config is not taken."""
    kernel = served(name)
    problem = small(kernel)[0]
    inputs = kernel.make_inputs(problem, "cpu", 0)
    config = {**kernel.default_config(problem, H200), "BLOCK_N": 32, "num_warps": 2}
    kernel.run(inputs, config)
    _, options = launched(name)[-1]
    assert (options["BLOCK_N"], options["num_warps"]) == (32, 2)
    assert not {"num_stages", "maxnreg"} & set(options)
    module = served_modules.imported(name.replace("csgmv", "chunked_sgmv"))
    lookup = getattr(module, f"get_lora_{name.removeprefix('csgmv_')}_config")
    with pytest.raises(AssertionError, match="not asked"):
        lookup(1, 1, 1, 16)
    assert module.torch is torch


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", KERNELS)
def test_launches_are_recorded_with_their_arguments_in_order_and_not_made(name: str, device: str) -> None:
    kernel = served(name)
    problem = max(small(kernel), key=lambda p: getattr(p, "num_slices", 0))
    inputs = kernel.make_inputs(problem, device, 0)
    (launch,) = kernel.launches(inputs, {**kernel.default_config(problem, H200), "num_warps": 2})
    assert not launched(name)
    assert launch.args[0] is inputs.builtin.arguments.x
    assert len(launch.args) == len(launch.fn.arg_names)
    assert dict(launch.options) == {"num_warps": 2}


def test_a_decode_batch_is_launched_over_the_whole_buffer_of_the_graph() -> None:
    kernel = served("csgmv_expand")
    problem = next(p for p in small(kernel) if getattr(p, "workload", "") == "decode")
    inputs = kernel.make_inputs(problem, "cpu", 0)
    (launch,) = kernel.launches(inputs, kernel.default_config(problem, H200))
    assert launch.grid[-1] == inputs.builtin.arguments.batch.segments > problem.tokens  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", KERNELS)
def test_spaces_hold_the_default_and_are_of_the_served_kernel_alone(name: str) -> None:
    kernel = served(name)
    for problem in small(kernel):
        for preset in kernel.spaces:
            space = Space.build(kernel, problem, H200, preset)
            assert space.incumbent == kernel.default_config(problem, H200)
            assert all(kernel.canonical(problem, config, H200) == config for config in space.configs)


@pytest.mark.parametrize("preset", ["wide", "sglang-grid"])
def test_a_shrink_has_no_parameter_that_is_our_kernels_own(preset: str) -> None:
    kernel = served("csgmv_shrink")
    for problem in small(kernel):
        names = ("BLOCK_N", "BLOCK_K", "num_warps", "num_stages")
        space = Space.build(kernel, problem, H200, preset)
        assert tuple(each.name for each in space.parameters) == names
        assert tuple(each.name for each in kernel.parameters(problem, preset)) == names
        assert tuple(kernel.default_config(problem, H200)) == names
        assert all(tuple(each) == names for each in kernel.other_defaults(problem, H200))


def test_no_trial_is_spent_on_stages_of_an_expand() -> None:
    kernel = served("csgmv_expand")
    problem = kernel.problem_from_flags(
        {"chunk_size": 128, "lora_rank": 64, "num_slices": 3, "slice_widths": "2048,1024,1024"}
    )
    space = Space.build(kernel, problem, H200, "wide")
    tried = [config for config in space.configs if config != space.incumbent]
    assert {config["num_stages"] for config in tried} == {1}
    spelled = {**space.incumbent, **facts.TRITON_DEFAULTS, "num_stages": 2}
    assert kernel.canonical(problem, spelled, H200) == space.incumbent


@pytest.mark.parametrize("chunk", [16, 128])
def test_the_estimate_of_an_expand_ranks_what_was_measured(chunk: int) -> None:
    """A rough figure, but far from chance; that of the built-in kernel ranks chunks of 128 the wrong way round."""
    (path,) = recording.find(pattern=f"sglang_expand_K4096_R64_S3_chunk{chunk}*")
    recorded, kernel = recording.load(path), served("csgmv_expand")
    problem = registry.load("csgmv_expand").problem_of_recording(recorded.name)
    assert problem is not None
    ok = [(c, m.median_us) for c, m in zip(recorded.configs, recorded.measurements, strict=True) if m.status == "ok"]
    estimates = [kernel.estimate_us(problem, config, H200) for config, _ in ok]
    assert spearmanr(estimates, [us for _, us in ok]).statistic > 0.5


@pytest.mark.parametrize("pattern", ["sglang_expand*", "sglangx_expand*"])
def test_what_an_expand_leaves_out_was_measured_to_lose(pattern: str) -> None:
    """Of each recorded space the best config is within what the space keeps."""
    kernel = served("csgmv_expand")
    for path in recording.find(pattern=pattern):
        recorded = recording.load(path)
        problem = registry.load("csgmv_expand").problem_of_recording(recorded.name)
        assert problem is not None
        times: dict[bool, list[float]] = {True: [], False: []}
        for config, m in zip(recorded.configs, recorded.measurements, strict=True):
            if m.status == "ok":
                kept = kernel.infeasible(problem, kernel.canonical(problem, config, H200), H200) is None
                times[kept].append(m.median_us)
        assert min(times[True]) <= min(times[False], default=float("inf"))


FLAGS: dict[str, Any] = {"hidden_size": 1024, "output_dim": 1024, "lora_rank": 64}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    ("flags", "workload", "builtin", "loras"),
    [
        ({}, "mixed", "prefill", 8),
        ({"workload": None, "num_loras": None}, "mixed", "prefill", 8),
        ({"num_loras": 1}, "mixed", "prefill", 1),
        ({"num_loras": 4}, "mixed", "prefill", 4),
        ({"adapter_ranks": (16,)}, "mixed", "prefill", 1),
        ({"adapter_ranks": "16"}, "mixed", "prefill", 1),
        ({"workload": "prefill"}, "prefill", "prefill", 1),
        ({"workload": "decode"}, "decode", "decode", 1),
        ({"workload": "mixed", "num_loras": 2}, "mixed", "mixed", 2),
    ],
    ids=str,
)
def test_prompts_and_decode_batches_are_timed_unless_flags_say_otherwise(
    name: str, flags: dict[str, Any], workload: str, builtin: str, loras: int
) -> None:
    """One entry of the server's is launched for both; of ours it is for those that it was timed on."""
    for problem in served(name).problems_from_flags(FLAGS | flags):
        fields = problem.to_json()
        assert (fields["workload"], fields["num_loras"]) == (workload, loras)
        assert problem == served(name).problem_from_flags(FLAGS | flags | {"chunk_size": fields["chunk_size"]})
    for problem in registry.load(name).problems_from_flags(FLAGS | flags):
        assert problem.to_json()["workload"] == builtin


@pytest.mark.parametrize("name", KERNELS)
def test_of_every_chunk_size_some_decode_batch_is_timed_that_a_server_launches_with_it(name: str) -> None:
    found = {p.to_json()["chunk_size"]: p.to_json()["decode_requests"] for p in served(name).problems_from_flags(FLAGS)}
    assert found == {16: [8, 64, 256], 32: [64, 256], 64: [256], 128: [256]}


def test_a_study_of_another_release_than_the_installed_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"csgmv_shrink@sglang-0.5.21: sglang 0.5.23 is installed here"):
        registry.load("csgmv_shrink@sglang-0.5.21").origin()


def test_a_release_of_unknown_sources_is_told_with_the_known_ones() -> None:
    origin = CSGMV.origin()
    assert "0.5.15, 0.5.21, 0.5.23" in origin.unknown
    assert origin.source_hash in origin.unknown


def test_a_release_that_has_the_ops_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sglang" / "kernels").rename(tmp_path / "sglang" / "elsewhere")
    with pytest.raises(InputError, match=r"sglang 0.5.23 has no module .*chunked_sgmv_shrink; known releases: 0.5.15"):
        CSGMV.origin()


def test_a_package_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    (tmp_path / "sglang" / "srt" / "utils.py").write_text("import no_such_dependency\n")
    kernel = served("csgmv_expand")
    with pytest.raises(InputError, match=r"sglang cannot be imported \(No module named 'no_such_dependency'\)"):
        kernel.make_inputs(small(kernel)[0], "cpu", 0)


def test_kernels_that_no_server_has_are_named() -> None:
    with pytest.raises(InputError, match="allowed: csgmv_shrink, csgmv_expand"):
        registry.load("lora_shrink@sglang")
