"""Errors and warnings of the package, each a subclass of what Python users already catch."""


class _Printable(Exception):
    """An error whose words any stream can take, whatever part of a file or of its name they quote."""

    def __str__(self) -> str:
        return super().__str__().encode("utf-8", "backslashreplace").decode()


class ClipsTableError(_Printable, ValueError):
    """A table of clips, prompts or ratings that cannot be used as it stands."""


class RatingDesignError(_Printable, ValueError):
    """A rating design that cannot carry the figure asked of it, such as agreement from one rating a clip."""


class AudioError(_Printable, ValueError):
    """A sound file that cannot be turned into windows."""


class CheckpointError(_Printable, ValueError):
    """A model checkpoint or tokenizer that is missing or does not fit."""


class StoreError(_Printable, RuntimeError):
    """An embedding store that is damaged, too new, or lacks what was asked of it."""


class ModelFileError(_Printable, ValueError):
    """A saved model that is of the wrong kind or does not fit the data."""


class SkippedWarning(UserWarning):
    """Something was left out; the message counts it and gives the reason."""


class FewSystemsWarning(UserWarning):
    """Figures about systems rest on so few that chance alone can make them look good."""
