"""Inputs, effects and notices are values: frozen, of declared fields, and each of one kind."""

import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import ModuleType
from typing import get_args

import pytest
from tests.delivery.made import BOB, ONE

from netchat.delivery import checked, effects, inputs, notices
from netchat.model import ItemKind, Name

PARTS = {
    effects.OwnRow,
    inputs.Found,
    inputs.NewMessage,
    checked.Entry,
    checked.Whereabouts,
    checked.Tally,
    checked.OwnMessage,
    checked.NewestReceived,
    checked.Target,
}
"""What only ever stands inside another one."""


def classes(module: ModuleType) -> Iterator[type]:
    for _, found in inspect.getmembers(module, inspect.isclass):
        if found.__module__ == module.__name__ and is_dataclass(found):
            yield found


@pytest.mark.parametrize("module", [inputs, checked, effects, notices], ids=lambda m: m.__name__)
def test_nobody_changes_a_value_on_its_way(module: ModuleType) -> None:
    """Nor does one grow a field that nobody declared."""
    for value in classes(module):
        assert value.__dataclass_params__.frozen, value  # type: ignore[attr-defined]
        assert "__slots__" in vars(value), value


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (inputs, [inputs.Input]),
        (checked, [checked.Checked, checked.Answer]),
        (effects, [effects.StoreEffect, effects.Question, effects.Outward]),
        (notices, [notices.Notice]),
    ],
    ids=["inputs", "checked", "effects", "notices"],
)
def test_every_value_is_of_exactly_one_kind(module: ModuleType, kinds: list[object]) -> None:
    """Stored in the transaction, asked in it, or done after it: a class in no union would be
    handled nowhere, and ``assert_never`` could not say so."""
    for value in set(classes(module)) - PARTS:
        assert sum(value in get_args(kind) for kind in kinds) == 1, value


def test_whatever_may_be_offered_twice_is_an_input() -> None:
    """``Identified`` are inputs that carry ids of their own."""
    assert set(get_args(inputs.Identified)) < set(get_args(inputs.Input))


def test_every_notice_leaves_the_pump() -> None:
    """After the commit that made it true."""
    assert set(get_args(notices.Notice)) < set(get_args(effects.Outward))


def test_a_hand_over_has_no_text_until_the_pump_reads_it() -> None:
    """The engine never holds a body: the text of a HandOver comes from the store."""
    assert effects.HandOver(ONE, BOB, 1, ItemKind.TEXT).text is None


def test_names_are_compared_without_regard_to_case() -> None:
    """A report about `BOB` is one about `bob`."""
    assert inputs.Handed(ONE, Name("BOB")) == inputs.Handed(ONE, BOB)
