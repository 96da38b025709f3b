"""Import of what an extra brings, with an error that says which."""

import importlib
from types import ModuleType


def import_optional(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import ``module`` or say which extra of musiceval_sk installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{purpose} needs the package {module!r}, which is not installed. "
            f'Install it with: pip install "musiceval_sk[{extra}]"'
        ) from error
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the package {module!r}, which is installed but does not load here: {error}"
        ) from error
