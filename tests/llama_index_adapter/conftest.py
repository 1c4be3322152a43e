"""The tests of LlamaIndex are left out, with a reason, where it is not installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

_MISSING = [one for one in ("llama_index", "workflows") if importlib.util.find_spec(one) is None]

_UPSTREAM = (
    "ignore::pydantic.warnings.PydanticDeprecationWarning",  # workflows look at every attribute of an agent
    "ignore:Skipping serialization of known unserializable key",  # the memory: whoever restores a Context gives it one
)


class _Absent(pytest.Module):
    def collect(self) -> Any:
        pytest.skip(f"{_MISSING[0]} is not installed: pip install 'callgate[llama-index]'", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> Any:
    return _Absent.from_parent(parent, path=module_path) if _MISSING else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for one in _UPSTREAM:
                item.add_marker(pytest.mark.filterwarnings(one))
