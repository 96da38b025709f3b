"""Small but true CLAP checkpoints and RoBERTa tokenizers, and LAION's own package to hold ours against.

LAION's code makes the checkpoint: its audio tower in full size, RoBERTa of few layers, a vocabulary of some hundred
tokens, random weights.
"""

import contextlib
import functools
import importlib
import importlib.util
import json
import sys
import warnings
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np

VOCAB_SIZE = 273
_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
_MERGES = ["Ġ p", "i a", "n o", "Ġp ia", "Ġpia no", "c a", "l m", "ca lm", "d r", "u m", "dr um", "drum s"]


def write_roberta_tokenizer(folder):
    """Write vocab.json and merges.txt of a byte-level BPE with a few merges, 273 tokens; return the folder."""
    from tokenizers.pre_tokenizers import ByteLevel

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [
        *_SPECIALS,
        *sorted(ByteLevel.alphabet()),
        *(pair.replace(" ", "") for pair in _MERGES),
        "<mask>",
    ]
    assert len(tokens) == VOCAB_SIZE
    vocab = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *_MERGES, ""]), encoding="utf-8")
    return folder


def write_clap_checkpoint(
    path, amodel="HTSAT-tiny", text_layers=1, vocab_size=VOCAB_SIZE, seed=0, depths=None
):
    """Write a checkpoint of random weights in the layout of LAION's training script; return the path.

    With ``depths`` its audio tower has as many blocks a stage, which "hf-clap" reads off the weights.
    """
    import torch

    code = clap_module()
    roberta = mock.patch.object(
        code.model.RobertaModel, "from_pretrained", roberta_maker(text_layers, vocab_size)
    )
    # LAION's initial weights take most of the time; torch's own, drawn before them, are as random.
    kept = mock.patch.object(code.htsat, "trunc_normal_", lambda weight, **_: weight)
    tower = code.htsat.HTSAT_Swin_Transformer
    usual = tower.__init__
    chosen = {"depths": depths} if depths else {}
    shallow = mock.patch.object(tower, "__init__", lambda self, **options: usual(self, **options | chosen))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), roberta, kept, shallow:
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model, _ = code.create_model(amodel, "roberta")
        spread_out(model)
    weights = {f"module.{name}": weight for name, weight in model.state_dict().items()}
    weights["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    moments = {0: {"step": 7, "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}}
    optimizer = {
        "state": moments,
        "param_groups": [{"lr": np.float64(1e-4), "betas": (0.9, 0.99), "params": [0]}],
    }
    torch.save({"epoch": 15, "name": "tiny", "state_dict": weights, "optimizer": optimizer}, path)
    return Path(path)


@functools.cache
def clap_module():
    """LAION's model code without ``laion_clap`` itself, whose import downloads tokenizers."""
    # Met for the first time beside the stand-ins, transformers would take torchvision for installed, and remember.
    from transformers import BartModel, BertModel, RobertaModel  # noqa: F401

    before, stand_ins = dict(sys.modules), _torchvision()
    sys.modules.update(stand_ins)
    sys.path.insert(0, str(Path(importlib.util.find_spec("laion_clap").origin).parent))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("clap_module")
    finally:
        del sys.path[0]
        for name in [
            name for name in sys.modules if name in stand_ins or name.split(".")[0] == "clap_module"
        ]:
            del sys.modules[name]
        sys.modules.update(before)


def roberta_maker(text_layers, vocab_size):
    """Stand-in for ``RobertaModel.from_pretrained`` that knows roberta-base's settings and makes random weights."""
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=vocab_size,
        num_hidden_layers=text_layers,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    return lambda name: RobertaModel(config)


def write_transformers_folder(folder, seed=0, **audio):
    """Write a small CLAP of random weights as transformers saves it, with tokenizer and settings; return the folder."""
    import torch
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    text_config = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 96,
        "max_position_embeddings": 90,
    }
    audio_config = {
        "patch_embeds_hidden_size": 8,
        "hidden_size": 64,
        "depths": [1, 2, 1, 1],
        "num_attention_heads": [1, 2, 2, 4],
        **audio,
    }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = ClapModel(ClapConfig(text_config=text_config, audio_config=audio_config, projection_dim=32))
        for name, weight in model.named_parameters():
            weight += (0.3 if name.startswith("text_model") else 0.1) * torch.randn_like(weight)
        model.audio_model.audio_encoder.batch_norm.running_mean.fill_(-30)
        model.audio_model.audio_encoder.batch_norm.running_var.fill_(400)
    model.save_pretrained(folder)
    ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc").save_pretrained(folder)
    return write_roberta_tokenizer(folder)


def spread_out(model):
    """Move a fresh network to where trained ones are, so that different inputs get clearly different vectors."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1 or "relative_position" in name:
                weight += 0.1 * torch.randn_like(weight)
            elif name.startswith("text_branch"):
                weight *= 3
        bn = model.audio_branch.bn0
        bn.running_mean.fill_(-30)
        bn.running_var.fill_(400)


@contextlib.contextmanager
def laion_clap_itself(tokenizer_folder, text_layers=1, vocab_size=VOCAB_SIZE):
    """Import the real ``laion_clap``, with all that it would download replaced by local files and random weights."""
    import transformers

    before, path = set(sys.modules), list(sys.path)
    with contextlib.ExitStack() as stack:
        for kind in ("BertTokenizer", "BartTokenizer"):
            stack.enter_context(
                mock.patch.object(getattr(transformers, kind), "from_pretrained", lambda name: None)
            )
        tokenizer = own_tokenizer(tokenizer_folder)
        stack.enter_context(
            mock.patch.object(transformers.RobertaTokenizer, "from_pretrained", lambda name: tokenizer)
        )
        maker = roberta_maker(text_layers, vocab_size)
        stack.enter_context(mock.patch.object(transformers.RobertaModel, "from_pretrained", maker))
        stack.enter_context(mock.patch.dict(sys.modules, _torchvision()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        try:
            import laion_clap

            yield laion_clap
        finally:
            sys.path[:] = path
            for name in set(sys.modules) - before:
                if name.split(".")[0] in ("laion_clap", "clap_module", "training"):
                    del sys.modules[name]


def own_tokenizer(folder):
    """Make transformers' own RoBERTa tokenizer of the files, in its version's way."""
    import transformers

    vocab, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
    if int(transformers.__version__.split(".")[0]) < 5:
        return transformers.RobertaTokenizer(str(vocab), str(merges))
    pairs = [tuple(line.split()) for line in merges.read_text("utf-8").splitlines()[1:]]
    return transformers.RobertaTokenizer(vocab=json.loads(vocab.read_text("utf-8")), merges=pairs)


def _torchvision():
    modules = {
        name: ModuleType(name) for name in ("torchvision", "torchvision.datasets", "torchvision.ops.misc")
    }
    modules["torchvision.ops"] = ModuleType("torchvision.ops")
    modules["torchvision.transforms"] = ModuleType("torchvision.transforms")
    modules["torchvision"].datasets = modules["torchvision.datasets"]
    modules["torchvision"].transforms = modules["torchvision.transforms"]
    modules["torchvision.ops.misc"].FrozenBatchNorm2d = object
    for name in (
        "CenterCrop",
        "Compose",
        "InterpolationMode",
        "Normalize",
        "RandomResizedCrop",
        "Resize",
        "ToTensor",
    ):
        setattr(modules["torchvision.transforms"], name, object)
    return modules
