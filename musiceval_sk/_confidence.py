"""What every interval asks for."""


def require_confidence(confidence: float) -> None:
    """Raise ValueError unless a nominal coverage lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, such as 0.95; got {confidence}")
