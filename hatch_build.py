"""The description on a package index: README.md without its relative links and pictures, which lead nowhere outside the repository."""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

_PICTURE_WITH_CAPTION = re.compile(r"!\[[^]]*\]\((?!https?:)[^)]*\)\n\n\*[^*]+\*\n\n")
_LINK = re.compile(r"!?\[([^]]*)\]\((?!https?:|#)[^)]*\)")


class CustomMetadataHook(MetadataHookInterface):
    """Sets ``readme``."""

    def update(self, metadata):
        """Set ``readme`` to what a package index can show."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": standing_alone(text)}


def standing_alone(text):
    """Leave out relative pictures with their captions, and of relative links all but the words."""
    return _LINK.sub(r"\1", _PICTURE_WITH_CAPTION.sub("", text))
