"""The E2B SDK: imported when it is needed, and its errors sorted by what can be done about them."""

from __future__ import annotations

import importlib
import importlib.metadata
from enum import Enum
from typing import Any

from callgate.errors import LimitExceeded, SandboxError, SandboxLost, SandboxUnavailable

__all__ = ["Trouble", "client", "refused", "trouble"]

INSTALL = "pip install 'callgate[e2b]'"

OLDEST = (2, 63)
"""The first release of the SDK that lets its caller have the output of a process to itself."""


class Trouble(Enum):
    """What an error of the SDK means for a sandbox."""

    GONE = "gone"
    """The sandbox is not there any more."""
    ENDED = "ended"
    """The process in it is not there any more."""
    UNCLEAR = "unclear"
    """Nobody knows; trying again may help."""


def client(options: dict[str, Any]) -> Any:
    """Return the SDK's client with these connection options.

    Raises:
        SandboxUnavailable: if the SDK is not installed, or too old.
    """
    try:
        sdk = importlib.import_module("e2b")
    except ImportError as error:
        raise SandboxUnavailable(
            f"E2BSandbox needs the E2B SDK: {INSTALL}", missing=["e2b"], reasons=[str(error)], cure=INSTALL
        ) from error
    version = importlib.metadata.version("e2b")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise SandboxUnavailable(
            f"version {version} of the E2B SDK is too old: {INSTALL}", missing=["e2b>=2.63"], cure=INSTALL
        )
    return sdk.E2B(**options)


def sandboxes(*, notebook: bool) -> Any:
    """Return the SDK's class of sandboxes for event loops, with the code interpreter if need be.

    Raises:
        SandboxUnavailable: if the SDK is not installed, or too old.
    """
    client({})
    return importlib.import_module("e2b_code_interpreter" if notebook else "e2b").AsyncSandbox


def trouble(error: BaseException) -> Trouble:
    """Return what an error of the SDK means."""
    sdk = importlib.import_module("e2b.exceptions")
    if isinstance(error, sdk.SandboxNotRunningException | sdk.SandboxNotFoundException):
        return Trouble.GONE
    return Trouble.ENDED if isinstance(error, sdk.NotFoundException) else Trouble.UNCLEAR


def refused(error: BaseException, doing: str) -> SandboxError | LimitExceeded:
    """Return what to tell somebody who asked for a sandbox of an error of the SDK; nothing ran.

    Args:
        error: of the SDK.
        doing: what failed, as "no sandbox could be made".
    """
    sdk = importlib.import_module("e2b.exceptions")
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SandboxError):
        return error
    if isinstance(error, sdk.AuthenticationException):
        cure = "give E2BSandbox(api_key=...) or set E2B_API_KEY"
        return SandboxUnavailable(f"E2B does not accept the API key; {cure}", missing=["an API key"], reasons=[text])
    if isinstance(error, sdk.RateLimitException):
        return LimitExceeded(f"{doing}: E2B's limit of sandboxes or requests is used up", tool="", limit="guests")
    if isinstance(error, sdk.InvalidArgumentException | sdk.TemplateException):
        return SandboxUnavailable(f"{doing}: {error}", missing=["the sandbox asked for"], reasons=[text])
    return SandboxLost(f"{doing}: {text}")
