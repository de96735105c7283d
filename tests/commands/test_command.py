"""What commands share, as far as a command says nothing of its own."""

import pytest

from mapopt.commands.command import Command


def test_a_command_that_says_nothing_of_it_keeps_nothing() -> None:
    assert Command().kept() == "Nothing was kept."
    assert Command(seed=3).settings() == Command(seed=3)
    with pytest.raises(NotImplementedError):
        Command().run()
