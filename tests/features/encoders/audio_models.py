"""Folders of audio models as transformers saves them: true architectures of few and narrow layers, random weights."""

import contextlib
import importlib
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np

_CONVOLVED = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_PATCHED = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
# Classes of model and extractor, by kind; the settings that make the model small, and the extractor's own.
KINDS = {
    "wav2vec2": ("Wav2Vec2Model", _CONVOLVED, "Wav2Vec2FeatureExtractor", {}),
    "wav2vec2, large": (
        "Wav2Vec2Model",
        {**_CONVOLVED, "do_stable_layer_norm": True, "feat_extract_norm": "layer"},
        "Wav2Vec2FeatureExtractor",
        {"return_attention_mask": True},
    ),
    "hubert": ("HubertModel", _CONVOLVED, "Wav2Vec2FeatureExtractor", {"sampling_rate": 24_000}),
    "ast": ("ASTModel", {**_PATCHED, "max_length": 128}, "ASTFeatureExtractor", {"max_length": 128}),
    "whisper": (
        "WhisperModel",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "vocab_size": 100,
            "max_source_positions": 100,
            **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1),
        },
        "WhisperFeatureExtractor",
        {"chunk_length": 2},
    ),
    "clap": (
        "ClapModel",
        {
            "text_config": {**_PATCHED, "vocab_size": 273, "max_position_embeddings": 90},
            "audio_config": {
                "patch_embeds_hidden_size": 8,
                "hidden_size": 64,
                "depths": [1, 1, 1, 1],
                "num_attention_heads": [1, 2, 2, 4],
            },
            "projection_dim": 32,
        },
        "ClapFeatureExtractor",
        {"truncation": "rand_trunc"},
    ),
}
# A model that transformers does not know, with its code in its folder, as MERT has it.
_CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

class FramesConfig(PretrainedConfig):
    model_type = "frames_of_a_test"
    def __init__(self, hidden_size=6, num_hidden_layers=1, **options):
        super().__init__(**options)
        self.hidden_size, self.num_hidden_layers = hidden_size, num_hidden_layers

class FramesModel(PreTrainedModel):
    config_class, main_input_name = FramesConfig, "input_values"
    def __init__(self, config):
        super().__init__(config)
        self.linear = torch.nn.Linear(400, config.hidden_size)
        self.post_init()
    def _init_weights(self, module):
        pass
    def forward(self, input_values, output_hidden_states=False, return_dict=True):
        state = self.linear(input_values.unfold(1, 400, 400))
        return BaseModelOutput(last_hidden_state=state.relu(), hidden_states=(state, state.relu()))
"""


def write_model(folder, kind="wav2vec2", seed=0, **settings):
    """Write a model of a kind with its extractor; return the folder."""
    import torch
    import transformers

    model_class, small, extractor_class, front_end = KINDS[kind]
    model_class = getattr(transformers, model_class)
    config = model_class.config_class(**(small | settings))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = model_class(config)
        # Away from where a fresh network is, so that different sounds get clearly different vectors.
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    model.save_pretrained(folder)
    getattr(transformers, extractor_class)(**front_end).save_pretrained(folder)
    return Path(folder)


def write_model_with_code(folder):
    """Write a model whose code is in its folder; return the folder."""
    import torch
    from safetensors.torch import save_file
    from transformers import Wav2Vec2FeatureExtractor

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "frames.py").write_text(_CODE)
    classes = {"AutoConfig": "frames.FramesConfig", "AutoModel": "frames.FramesModel"}
    settings = {
        "model_type": "frames_of_a_test",
        "hidden_size": 6,
        "num_hidden_layers": 1,
        "auto_map": classes,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    random = torch.Generator().manual_seed(0)
    weights = {
        "linear.weight": torch.randn(6, 400, generator=random),
        "linear.bias": torch.randn(6, generator=random),
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


def of_transformers(folder, kind, windows, layer):
    """Vectors as the model's own class gives them: mean over all positions of a hidden state."""
    import torch
    import transformers

    model_class, _, extractor_class, _ = KINDS[kind]
    model = getattr(transformers, model_class).from_pretrained(folder, local_files_only=True).eval()
    extractor = getattr(transformers, extractor_class).from_pretrained(folder, local_files_only=True)
    inputs = extractor(list(windows), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    heard = {"whisper": "encoder", "clap": "audio_model"}.get(kind)
    with torch.inference_mode():
        given = (getattr(model, heard) if heard else model)(**inputs, output_hidden_states=True)
    state = given.last_hidden_state if layer == -1 else given.hidden_states[layer]
    return state.flatten(2).mean(dim=2).numpy() if state.ndim == 4 else state.mean(dim=1).numpy()


def sounds(n_samples, rate):
    """Make three sounds that differ: noise, a tone, a sweep that ends early."""
    random, time = np.random.default_rng(7), np.arange(n_samples) / rate
    noise = 0.1 * random.standard_normal(n_samples)
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    sweep = 0.9 * np.sin(2 * np.pi * 100 * time * (1 + time / 10)) * (time < 0.8 * time[-1])
    return np.stack([noise, tone, sweep]).astype(np.float32)


MUQ = {
    "conv_dim": 8,
    "encoder_dim": 32,
    "encoder_depth": 3,
    "codebook_size": 64,
    "stat": {"melspec_2048_mean": 6.77, "melspec_2048_std": 18.4},
    "w2v2_config": {
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "hidden_act": "swish",
        "position_embeddings_type": "rotary",
    },
}
_TOWER = {"dim": 32, "tf_depth": 2, "heads": 2, "dim_head": 16}


@contextlib.contextmanager
def muq_itself():
    """Import the authors' package anew: with torchaudio where that loads, with the library's spectrogram elsewhere."""
    from musiceval_sk.features.encoders.local import standing_in
    from musiceval_sk.features.encoders.muq import network

    tokenizer = SimpleNamespace(tokenizer=SimpleNamespace(vocab_size=7))
    stand_ins = {"x_clip": SimpleNamespace(), "x_clip.tokenizer": tokenizer}
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        names = ("Spectrogram", "TimeStretch", "FrequencyMasking", "TimeMasking")
        transforms = SimpleNamespace(
            MelSpectrogram=network.MelSpectrogram, AmplitudeToDB=network.AmplitudeToDB, **dict.fromkeys(names)
        )
        stand_ins |= {
            "torchaudio": SimpleNamespace(transforms=transforms),
            "torchaudio.transforms": transforms,
        }
    with standing_in(stand_ins, "muq"):
        yield importlib.import_module("muq")


def _usual_conformer():
    from transformers import Wav2Vec2ConformerConfig

    return {
        name: value
        for name, value in Wav2Vec2ConformerConfig().to_dict().items()
        if not isinstance(value, dict)
    }


def _moved(model):
    """Move a fresh network away from where it is, so that different inputs get clearly different vectors."""
    import torch

    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model


def write_muq(folder, seed=0, **settings):
    """Write a MuQ of random weights as its package saves it; return the folder."""
    import torch

    settings = MUQ | settings
    settings["w2v2_config"] = _usual_conformer() | settings["w2v2_config"]
    with muq_itself() as package, torch.random.fork_rng(devices=[]):
        model = package.MuQ(package.MuQConfig(**settings))
        torch.manual_seed(seed)  # it sets its own
        _moved(model).save_pretrained(folder)
    return Path(folder)


def write_mulan(folder, seed=0):
    """Write a MuQ-MuLan of random weights, with the models that it is made of beside it; return its folder."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    folder = Path(folder)
    muq, text = folder.parent / "muq-small", folder.parent / "xlm-roberta-small"
    if not muq.exists():
        write_muq(muq)
    if not text.exists():
        small = {**_PATCHED, "vocab_size": 40, "max_position_embeddings": 66, "pad_token_id": 1}
        XLMRobertaModel(XLMRobertaConfig(**small)).save_pretrained(text)
        write_word_tokenizer(text)
    with muq_itself() as package, torch.random.fork_rng(devices=[]):
        parts = package.muq_mulan.muq_mulan
        model = package.MuQMuLan(
            package.MuQMuLanConfig(
                mulan=asdict(parts.MuLanConfig(dim_latent=16)),
                audio_model=asdict(parts.ModalModelConfig(name=str(muq), model_dim=32)),
                text_model=asdict(parts.ModalModelConfig(name=str(text), model_dim=32)),
                audio_transformer=_TOWER,
                text_transformer=_TOWER,
            )
        )
        torch.manual_seed(seed)
        _moved(model).save_pretrained(folder)
    return folder


def write_word_tokenizer(folder):
    """Write a tokenizer of single letters with XLM-RoBERTa's special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz ,."]
    made = Tokenizer(models.WordLevel({letter: number for number, letter in enumerate(letters)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    made.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names})
    )


def of_muq(folder, windows, prompts=()):
    """All hidden states of MuQ, or vectors of windows and prompts of MuQ-MuLan, as the package itself gives them."""
    import torch

    mulan = "mulan" in json.loads((Path(folder) / "config.json").read_text())
    with muq_itself() as package, torch.random.fork_rng(devices=[]), torch.inference_mode():
        model = (package.MuQMuLan if mulan else package.MuQ).from_pretrained(folder).eval()
        conformer_of = model.mulan.audio.model.model if mulan else model.model
        _give_hidden_states(conformer_of)
        if not mulan:
            states = model(torch.from_numpy(windows)).hidden_states
            return [state.mean(dim=1).numpy() for state in states]
        texts = [model(texts=[prompt]).numpy() for prompt in prompts]
        return model(wavs=torch.from_numpy(windows)).numpy(), np.concatenate(texts)


def _give_hidden_states(model):
    """From transformers 5 on the conformer gives none, and the package does not run: walk through its blocks by hand."""
    import torch
    import transformers

    if int(transformers.__version__.split(".")[0]) < 5:
        return
    theirs = model.conformer
    theirs.config._attn_implementation = "eager"

    class ByHand(torch.nn.Module):
        def forward(self, state, output_hidden_states):
            places, states = theirs.embed_positions(state), [state]
            for layer in theirs.layers:
                output = layer(states[-1], relative_position_embeddings=places)
                states.append(output if isinstance(output, torch.Tensor) else output[0])
            states[-1] = theirs.layer_norm(states[-1])
            return {"last_hidden_state": states[-1], "hidden_states": tuple(states)}

    model.conformer = ByHand()
