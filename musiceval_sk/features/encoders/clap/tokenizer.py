"""RoBERTa's byte-level BPE from local files, through the `tokenizers` library, which knows no network."""

import contextlib
import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from musiceval_sk._optional import import_optional
from musiceval_sk.exceptions import CheckpointError

TOKENIZER_VARIABLE = "MUSICEVAL_ROBERTA"
MAX_LENGTH = 77
_FILE_SETS = (("vocab.json", "merges.txt"), ("tokenizer.json",))
_WANTED = "vocab.json and merges.txt or tokenizer.json"
_IDS = {"<s>": 0, "<pad>": 1, "</s>": 2}


def find_tokenizer(tokenizer: str | Path | None, checkpoint: Sequence[Path]) -> tuple[Path, ...]:
    """Look for the tokenizer in the folder that is named, in the checkpoint's, beside it, in Hugging Face's cache.

    Parameters
    ----------
    tokenizer : str, Path or None
        Folder with ``vocab.json`` and ``merges.txt``, or with ``tokenizer.json``.
    checkpoint : sequence of Path
        The checkpoint's files; if they are several, their folder may hold the tokenizer, and comes before that of the
        environment variable.

    Returns
    -------
    tuple of Path
        Two files or one.

    Raises
    ------
    CheckpointError
        If a named folder lacks the files, or no place holds them.
    """
    if not tokenizer and len(checkpoint) > 1 and (files := files_in(checkpoint[0].parent)):
        return files
    named = tokenizer or os.environ.get(TOKENIZER_VARIABLE)
    folder = Path(named).expanduser() if named else checkpoint[0].parent / "roberta-base"
    files = files_in(folder) or (() if named else _cached_files())
    if not files and named:
        raise CheckpointError(f"{folder}: not a tokenizer folder; expected {_WANTED} in it")
    if not files:
        raise CheckpointError(
            f"prompts need RoBERTa's tokenizer, which is not on this machine (audio does not need it). Get {_WANTED} "
            "of the Hugging Face repository roberta-base "
            f"(hf download roberta-base vocab.json merges.txt --local-dir {folder}) and put them into {folder}, or "
            f"name their folder with tokenizer= (--tokenizer) or the environment variable {TOKENIZER_VARIABLE}"
        )
    return files


def files_in(folder: Path) -> tuple[Path, ...]:
    """Pick a tokenizer's files out of a folder: ``vocab.json`` and ``merges.txt``, else ``tokenizer.json``, else none."""
    sets = (tuple(folder / name for name in names) for names in _FILE_SETS)
    return next((files for files in sets if all(file.is_file() for file in files)), ())


def load_tokenizer(files: Sequence[Path], vocab_size: int, encoder: str, extra: str) -> Any:
    """Build the tokenizer as RoBERTa sets it up, cutting and padding to 77 tokens as LAION does.

    Parameters
    ----------
    files : sequence of Path
        As `find_tokenizer` gives them.
    vocab_size : int
        Number of tokens that the checkpoint's text tower knows.
    encoder, extra : str
        Who asks, and what installs the library ``tokenizers``.

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
    tokenizers = import_optional("tokenizers", extra=extra, purpose=f"the text tower of {encoder!r}")
    names = " and ".join(map(str, files))
    try:
        made = _from_bpe(tokenizers, *files) if len(files) > 1 else tokenizers.Tokenizer.from_file(names)
    # The library raises bare Exception for a file that it cannot parse.
    except Exception as error:
        raise CheckpointError(f"{names}: not a tokenizer that can be read ({error})") from error
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
    made.enable_truncation(max_length=MAX_LENGTH)
    made.enable_padding(length=MAX_LENGTH, pad_id=_IDS["<pad>"], pad_token="<pad>")
    return made


def tokenize(tokenizer: Any, prompts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Turn prompts into token ids, [shape=(n, 77)], and 1 where they are no padding."""
    encoded = tokenizer.encode_batch([str(prompt) for prompt in prompts])
    ids = np.array([one.ids for one in encoded], dtype=np.int64)
    return ids, np.array([one.attention_mask for one in encoded], dtype=np.int64)


def _from_bpe(tokenizers: Any, vocab: Path, merges: Path) -> Any:
    made = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(vocab), str(merges)))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = tokenizers.processors.RobertaProcessing(
        ("</s>", _IDS["</s>"]), ("<s>", _IDS["<s>"]), trim_offsets=True, add_prefix_space=False
    )
    specials = [token for token in (*_IDS, "<unk>", "<mask>") if made.token_to_id(token) is not None]
    made.add_special_tokens(
        [tokenizers.AddedToken(token, lstrip=token == "<mask>", normalized=False) for token in specials]
    )
    return made


def _cached_files() -> tuple[Path, ...]:
    """Look RoBERTa's files up in Hugging Face's cache, which is only read."""
    with contextlib.suppress(ImportError):
        from huggingface_hub import try_to_load_from_cache

        for repository, (name, *_) in product(("roberta-base", "FacebookAI/roberta-base"), _FILE_SETS):
            found = try_to_load_from_cache(repository, name)
            if isinstance(found, str) and (files := files_in(Path(found).parent)):
                return files
    return ()
