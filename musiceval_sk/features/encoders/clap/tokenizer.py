"""RoBERTa's byte-level BPE from local files, through the `tokenizers` library, which knows no network."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musiceval_sk._optional import import_optional
from musiceval_sk.exceptions import CheckpointError
from musiceval_sk.features.audio import content_key

TOKENIZER_VARIABLE = "MUSICEVAL_ROBERTA"
MAX_LENGTH = 77
_FILE_SETS = (("vocab.json", "merges.txt"), ("tokenizer.json",))
_REPOSITORIES = ("roberta-base", "FacebookAI/roberta-base")
_IDS = {"<s>": 0, "<pad>": 1, "</s>": 2}


def find_tokenizer(tokenizer: str | Path | None, checkpoint: Path) -> tuple[Path, ...]:
    """Look for the tokenizer in the given folder, the environment's, beside the checkpoint, in Hugging Face's cache.

    Parameters
    ----------
    tokenizer : str, Path or None
        Folder with ``vocab.json`` and ``merges.txt``, or with ``tokenizer.json``.
    checkpoint : Path
        The CLAP checkpoint; a folder ``roberta-base`` beside it is looked into.

    Returns
    -------
    tuple of Path
        Two files or one.

    Raises
    ------
    CheckpointError
        If a named folder lacks the files, or no place holds them.
    """
    named = tokenizer or os.environ.get(TOKENIZER_VARIABLE)
    if named:
        folder = Path(named).expanduser()
        files = files_in(folder)
        if not files:
            raise CheckpointError(f"{folder}: not a tokenizer folder; expected {_wanted()} in it")
        return files
    beside = checkpoint.parent / "roberta-base"
    files = files_in(beside) or _cached_files()
    if not files:
        raise CheckpointError(
            f"prompts need RoBERTa's tokenizer, which is not on this machine (audio does not need it). Get {_wanted()} "
            "of the Hugging Face repository roberta-base "
            f"(hf download roberta-base vocab.json merges.txt --local-dir {beside}) and put them into {beside}, or "
            f"name their folder with tokenizer=, --tokenizer or the environment variable {TOKENIZER_VARIABLE}"
        )
    return files


def files_in(folder: Path) -> tuple[Path, ...]:
    """Pick a tokenizer's files out of a folder.

    Parameters
    ----------
    folder : Path
        Any path.

    Returns
    -------
    tuple of Path
        ``vocab.json`` and ``merges.txt``, else ``tokenizer.json``, else nothing.
    """
    for names in _FILE_SETS:
        files = tuple(folder / name for name in names)
        if all(file.is_file() for file in files):
            return files
    return ()


def tokenizer_digest(files: Sequence[Path]) -> str:
    """Hash the contents of the tokenizer's files.

    Parameters
    ----------
    files : sequence of Path
        As `find_tokenizer` gives them.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.
    """
    return hashlib.sha256(b"".join(content_key(file) for file in files)).hexdigest()


def load_tokenizer(
    files: Sequence[Path], vocab_size: int, *, extra: str = "clap", purpose: str = "CLAP's text tower"
) -> Any:
    """Build the tokenizer as RoBERTa sets it up, cutting and padding to 77 tokens as LAION does.

    Parameters
    ----------
    files : sequence of Path
        As `find_tokenizer` gives them.
    vocab_size : int
        Number of tokens that the checkpoint's text tower knows.
    extra, purpose : str
        What installs the library ``tokenizers`` and what it is for, should it be missing.

    Returns
    -------
    tokenizers.Tokenizer
        Ready for `tokenize`.

    Raises
    ------
    CheckpointError
        If the files are no byte-level BPE of RoBERTa, or know more tokens than the checkpoint.
    ImportError
        If the library ``tokenizers`` is not installed.
    """
    tokenizers = import_optional("tokenizers", extra=extra, purpose=purpose)
    names = " and ".join(str(file) for file in files)
    try:
        made = (
            tokenizers.Tokenizer.from_file(str(files[0])) if len(files) == 1 else _from_bpe(tokenizers, files)
        )
    # The library raises bare Exception for a file that it cannot parse.
    except Exception as error:
        raise CheckpointError(f"{names}: not a tokenizer that can be read ({error})") from error
    _check_tokens(made, names, vocab_size)
    made.enable_truncation(max_length=MAX_LENGTH)
    made.enable_padding(length=MAX_LENGTH, pad_id=_IDS["<pad>"], pad_token="<pad>")
    return made


def tokenize(tokenizer: Any, prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Turn prompts into what RoBERTa takes.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
        As `load_tokenizer` gives it.
    prompts : sequence of str
        At least one text.

    Returns
    -------
    tuple of two np.ndarray [shape=(n, 77)], int64
        Token ids, and 1 where they are no padding.
    """
    encoded = tokenizer.encode_batch([str(prompt) for prompt in prompts])
    ids = np.array([one.ids for one in encoded], dtype=np.int64)
    return ids, np.array([one.attention_mask for one in encoded], dtype=np.int64)


def _check_tokens(made: Any, names: str, vocab_size: int) -> None:
    ids = {token: made.token_to_id(token) for token in _IDS}
    if ids != _IDS:
        raise CheckpointError(
            f"{names}: not RoBERTa's tokenizer; its special tokens are {ids}, expected {_IDS}"
        )
    if made.get_vocab_size() > vocab_size:
        raise CheckpointError(
            f"{names}: {made.get_vocab_size()} tokens, but the checkpoint's text tower knows {vocab_size}; "
            "they do not belong together"
        )


def _from_bpe(tokenizers: Any, files: Sequence[Path]) -> Any:
    vocab, merges = (str(file) for file in files)
    made = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(vocab, merges))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = tokenizers.processors.RobertaProcessing(
        ("</s>", _IDS["</s>"]), ("<s>", _IDS["<s>"]), trim_offsets=True, add_prefix_space=False
    )
    specials = [token for token in ("<s>", "<pad>", "</s>", "<unk>") if made.token_to_id(token) is not None]
    made.add_special_tokens([tokenizers.AddedToken(token, normalized=False) for token in specials])
    if made.token_to_id("<mask>") is not None:
        made.add_special_tokens([tokenizers.AddedToken("<mask>", lstrip=True, normalized=False)])
    return made


def _cached_files() -> tuple[Path, ...]:
    """Look RoBERTa's files up in Hugging Face's cache, which is only read."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return ()
    for repository in _REPOSITORIES:
        for names in _FILE_SETS:
            found = [try_to_load_from_cache(repository, name) for name in names]
            if all(isinstance(file, str) for file in found):
                return tuple(Path(str(file)) for file in found)
    return ()


def _wanted() -> str:
    return " or ".join(" and ".join(names) for names in _FILE_SETS)
