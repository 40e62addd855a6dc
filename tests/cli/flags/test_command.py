"""Every flag stands once in the table, and commands take those that their parameters name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from autotune.cli.flags.command import FlagCommand, said, takes_flags, worded
from autotune.cli.flags.table import FLAGS
from autotune.cli.main import main


def commands(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    for command in (group.get_command(context, name) for name in group.list_commands(context)):
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command)
        else:
            yield command


COMMANDS = {command.name or "": command for command in commands(main)}


@dataclass(frozen=True)
class Shape:
    hidden_size: int
    dtype: str = "float16"
    dims: tuple[str, ...] = ()


@dataclass(frozen=True)
class Serving:
    tp: int = 1
    dtype: str = "bfloat16"
    lora_rank: int | None = worded("Another text.", default=None)


@click.command(cls=FlagCommand)
@takes_flags
@click.argument("name")
def command(name: str, shape: Shape, serving: Serving, seed: int = 7, as_json: bool = False) -> None:
    click.echo(f"{name} {shape} {serving} {seed} {as_json}")


def run(*words: str) -> str:
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def test_what_is_not_given_has_each_dataclasss_own_default() -> None:
    assert run("x", "--hidden-size", "64") == f"x {Shape(64)} {Serving()} 7 False"


def test_a_flag_that_two_name_is_one_flag() -> None:
    given = run("x", "--hidden-size", "64", "--dtype", "half", "--seed", "0", "--json", "--tp", "2", "--dim", "a=1")
    assert given == f"x {Shape(64, 'half', ('a=1',))} {Serving(2, 'half')} 0 True"


def test_a_flag_without_a_default_must_be_given() -> None:
    done = CliRunner().invoke(command, ["x"])
    assert done.exit_code == 2
    assert "--hidden-size" in done.output


def test_help_has_a_heading_for_each_part() -> None:
    text = run("--help")
    places = [text.index(part) for part in ("\nServer:", "--tp", "\nProblem", "--hidden-size", "\nSearch:", "--seed")]
    assert places == sorted(places)
    assert "Another text." in text
    assert FLAGS["lora_rank"].help not in text


@pytest.mark.parametrize(
    ("begun", "shown", "hidden"),
    [
        ("--model Qwen3-8B", ("Model (", "--dtype"), ("Problem (", "All layers")),
        ("--op-type=lora_shrink", ("Problem (", "--dtype"), ("Model (", "All layers")),
        ("--qkv-output-dim 2048,1024", ("Problem (", "All layers"), ("Model (",)),
    ],
)
def test_help_behind_a_way_to_tune_shows_its_flags_alone(
    begun: str, shown: tuple[str, ...], hidden: tuple[str, ...]
) -> None:
    text = CliRunner(env={"COLUMNS": "80"}).invoke(COMMANDS["tune"], [*begun.split(), "--help"]).output
    assert all(part in text for part in (*shown, "Server:", "Search:"))
    assert not any(f"\n{part}" in text for part in hidden)


def test_said_tells_what_differs_from_the_defaults() -> None:
    assert said(Serving(tp=2)) == ["tp"]
    assert said(Serving()) == []


def test_every_flag_of_the_table_is_taken_by_a_command() -> None:
    taken = {parameter.name for each in COMMANDS.values() for parameter in each.params}
    assert set(FLAGS) <= taken


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_a_command_is_of_the_table_and_has_a_heading(name: str) -> None:
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    assert {option.name for option in options} <= set(FLAGS)
    spelled = [spelling for option in options for spelling in option.opts]
    assert len(spelled) == len(set(spelled)), "one flag, two meanings"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_eighty_columns(name: str) -> None:
    text = CliRunner(env={"COLUMNS": "80"}).invoke(COMMANDS[name], ["--help"]).output
    flags = text.partition("\n\n")[2]
    assert not [line for line in flags.splitlines() if line.startswith("  -") and len(line) > 80]


def test_the_help_of_tune_leads_with_a_model_then_a_shape_then_a_block() -> None:
    text = CliRunner(env={"COLUMNS": "80"}).invoke(COMMANDS["tune"], ["--help"]).output
    places = [text.index(part) for part in ("tune --model", "tune --op-type", "tune --runtime sglang")]
    headings = [text.index(f"\n{part}") for part in ("Model (", "Server:", "Problem (", "All layers", "Workload (")]
    assert places + headings == sorted(places + headings)


SPELLINGS = {
    "lora_rank": {"--lora-rank", "--rank", "--max-lora-rank"},
    "tp": {"--tp", "--tensor-parallel-size", "--tp-size"},
    "max_loras": {"--max-loras", "--num-loras", "--max-loras-per-batch"},
    "num_loras": {"--max-loras", "--num-loras", "--max-loras-per-batch"},
    "fully_sharded": {"--fully-sharded", "--fully-sharded-loras"},
    "ep": {"--ep", "--enable-expert-parallel"},
    "target_modules": {"--target-modules", "--lora-target-modules"},
}


def test_a_flag_has_the_servers_spellings_in_every_command_that_takes_it() -> None:
    assert isinstance(main, click.Group)
    taken = [(command, {each.name: set(each.opts) for each in command.params}) for command in commands(main)]
    assert all(any(field in options for _, options in taken) for field in SPELLINGS)
    for command, options in taken:
        known = {spelling for names in options.values() for spelling in names}
        for field, spellings in SPELLINGS.items():
            assert field not in options or spellings <= known, (command.name, field)
