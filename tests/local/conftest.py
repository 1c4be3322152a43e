from __future__ import annotations

from collections.abc import Iterator

import pytest

from callgate.errors import SandboxUnavailable
from callgate.sandboxes.local import LocalSandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LocalSandbox]:
    with LocalSandbox() as shared:
        try:
            shared.check()
        except SandboxUnavailable as error:
            pytest.skip(str(error))
        yield shared
