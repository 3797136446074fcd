"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import mris

MODULES = sorted(module.name for module in pkgutil.walk_packages(mris.__path__, "mris."))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
