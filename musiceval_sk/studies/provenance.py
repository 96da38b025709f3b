"""What a result was made with, and when."""

import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = ("musiceval_sk", "scikit-learn", "torch", "numpy", "scipy", "pandas")


def provenance(*more: str) -> dict[str, Any]:
    """Versions of Python and of the packages in use, those in ``more`` too, and the time of day in UTC."""
    packages = {name: _version(name) for name in (*_PACKAGES, *more)}
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"versions": {"python": platform.python_version()} | packages, "made": made}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
