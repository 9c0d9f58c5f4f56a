"""The table of commands: no key twice, a way back for each step, everything in the palette."""

from __future__ import annotations

from collections import Counter

from textual.keys import _character_to_key

from toyvisor.debug.moment import Unit
from toyvisor.ui.stepper.app import StepperApp
from toyvisor.ui.stepper.arrangement import VIEWS
from toyvisor.ui.stepper.keys import COMMANDS, all_commands


def test_no_key_does_two_things() -> None:
    counts = Counter(key for command in all_commands() for key in command.keys)
    assert [key for key, count in counts.items() if count > 1] == []


def test_each_unit_of_stepping_goes_forward_and_backward() -> None:
    actions = {command.action for command in all_commands()}
    for unit in set(Unit) - {Unit.LINE}:
        assert {f"forward('{unit}')", f"backward('{unit}')"} <= actions


def test_a_shifted_letter_is_the_way_back() -> None:
    keys = {key: command.action for command in all_commands() for key in command.keys}
    for letter in "snevudif":
        assert keys[letter].replace("forward", "backward") == keys[letter.upper()]
    assert (keys["c"], keys["C"]) == ("run", "run_back")


def test_every_view_has_its_number() -> None:
    keys = {key: command.action for command in all_commands() for key in command.keys}
    for number, _ in VIEWS.values():
        assert keys[number] == f"view({number})"


def test_every_action_exists() -> None:
    for command in all_commands():
        method = command.action.split("(")[0].removeprefix("app.")
        assert hasattr(StepperApp, f"action_{method}"), command


def test_characters_have_the_names_that_textual_gives_them() -> None:
    keys = {key for command in all_commands() for key in command.keys}
    assert {_character_to_key(character) for character in "[]{}?/:."} <= keys


def test_the_first_keys_are_the_ones_of_debuggers() -> None:
    walk = {command.key_names: command.title for command in COMMANDS["Walk"]}
    assert walk["s or F11"] == "Step one instruction"
    assert walk["n or F10"] == "Step over a line"
    assert walk["c or F5"] == "Continue"
