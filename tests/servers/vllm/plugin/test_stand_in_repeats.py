"""Calls of one kind, of which the first is launched and the others repeat its launches."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.builders.plugin_process import COUNTED, run

ON = {"LORA_AUTOTUNE_KERNELS": "1"}


def repeating(tmp_path: Path, script: str) -> object:
    found, _ = run(tmp_path, f"{COUNTED}\nlaunched = laid_out\n{textwrap.dedent(script)}", ON)
    return found


def test_dense_calls_repeat_with_other_tensors_weights_and_adapters(tmp_path: Path) -> None:
    """The second layer has other weights, the third call other adapters for as many tokens: all of one kind."""
    script = """
        def changed(mapping, factor):
            layer = Layer.random()
            weights = {"a": [each * factor for each in layer.a], "b": [-each for each in layer.b]}
            return dataclasses.replace(layer, x=layer.x * factor, **weights).run(mapping)

        cases = [(MAPPING, 1.0), (MAPPING, 0.5), ((2, 2, -1, 0, 1, 1, -1), 0.5)]
        theirs = [changed(*case) for case in cases]
        register()
        Layer.random().run()
        new = []
        same = []
        for case, other in zip(cases, theirs):
            launched.clear()
            same.append(changed(*case).equals(other))
            new.append(len(launched))
        print(json.dumps([same, new]))
    """
    assert repeating(tmp_path, script) == [[True] * 3, [0] * 3]


def test_other_kinds_of_dense_calls_are_launched_anew(tmp_path: Path) -> None:
    """A wider output, other token counts and overwriting change what is compiled or how it is laid out."""
    script = """
        def wider():
            layer = Layer.random()
            return dataclasses.replace(layer, out=torch.cat([layer.out, layer.out], 1))

        runs = {
            "fewer": lambda: Layer.random(tokens=3).run(MAPPING[:3]),
            "wider": lambda: wider().run(),
            "overwritten": lambda: Layer.random().run(add=False),
            "as before": lambda: Layer.random().run(),
        }
        theirs = {name: run() for name, run in runs.items()}
        register()
        Layer.random().run()
        found = {}
        for name, run in runs.items():
            launched.clear()
            found[name] = [run().equals(theirs[name]), len(launched)]
        print(json.dumps(found))
    """
    found = repeating(tmp_path, script)
    # The shrink writes no output of the layer, so it is of one kind unless tokens differ; it zeroes its own first.
    assert found == {"fewer": [True, 3], "wider": [True, 1], "overwritten": [True, 1], "as before": [True, 0]}


def test_experts_repeat_with_other_tensors(tmp_path: Path) -> None:
    script = """
        def changed(factor):
            experts = Experts.random()
            t = experts.tensors
            with torch.no_grad():
                t.x.mul_(factor)
                for weight in t.b:
                    weight.mul_(factor)
            return experts.run()

        theirs = changed(0.5)
        register()
        changed(1.0)
        first = len(launched)
        same = changed(0.5).equals(theirs)
        Experts.random().run(add=False)
        print(json.dumps([first, same, len(launched) - first]))
    """
    assert repeating(tmp_path, script) == [1, True, 1]


def test_an_odd_address_is_launched_anew_and_right(tmp_path: Path) -> None:
    """Its kernel is another one; the shrink's output is zeroed once more."""
    script = """
        def odd():
            layer = Layer.random()
            x = torch.empty(layer.x.numel() + 1, dtype=layer.x.dtype, device=layer.x.device)[1:].view_as(layer.x)
            x.copy_(layer.x)
            return dataclasses.replace(layer, x=x).run()

        theirs = odd()
        register()
        Layer.random().run()
        launched.clear()
        same = odd().equals(theirs)
        print(json.dumps([same, len(launched)]))
    """
    assert repeating(tmp_path, script) == [True, 2]


@pytest.mark.parametrize("most", [1, 2])
def test_kinds_are_forgotten_where_there_are_too_many(tmp_path: Path, most: int) -> None:
    script = f"""
        from autotune.servers.plugin import repeat
        repeat.MOST_KINDS = {most}
        theirs = [Layer.random(tokens=n).run(MAPPING[:n]) for n in (3, 5, 7, 3)]
        register()
        same = [Layer.random(tokens=n).run(MAPPING[:n]).equals(other) for n, other in zip((3, 5, 7, 3), theirs)]
        print(json.dumps([same, len(launched)]))
    """
    assert repeating(tmp_path, script) == [[True] * 4, 12]


def test_a_launch_that_cannot_be_kept_is_not_made_again(tmp_path: Path) -> None:
    script = """
        theirs = [Layer.random().run() for _ in range(2)]
        register()
        keeping = Launch.run

        class Compiling:
            "As what Triton gives of a kernel that another thread is compiling."
            __getitem__ = None

        Launch.run = lambda launch: keeping(launch) and Compiling()
        print(json.dumps([[Layer.random().run().equals(other) for other in theirs], len(launched)]))
    """
    assert repeating(tmp_path, script) == [[True] * 2, 6]
