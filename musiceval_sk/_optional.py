"""Import of what an extra brings, with an error that says which."""

import importlib
from importlib.metadata import PackageNotFoundError, requires
from types import ModuleType


def import_optional(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import ``module`` or say which extra of musiceval_sk installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{purpose} needs the package {module!r}, which is not installed. "
            f"Install it with: {pip_install(extra)}"
        ) from error
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the package {module!r}, which is installed but does not load here: {error}"
        ) from error


def pip_install(extra: str) -> str:
    """Give the command that installs the packages of an extra, from wherever musiceval_sk itself came."""
    try:
        needs = [need.split(";") for need in requires("musiceval_sk") or ()]
    except PackageNotFoundError:
        needs = []
    names = [
        name.strip() for name, *when in needs if when and f'extra == "{extra}"' in when[0].replace("'", '"')
    ]
    return " ".join(["pip install", *(f'"{name}"' for name in names or [f"musiceval_sk[{extra}]"])])
