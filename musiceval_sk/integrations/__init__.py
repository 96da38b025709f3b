"""What other libraries take and give: metrics for torchmetrics, data sets of Hugging Face, fitted heads as ONNX.

Each name needs an extra of its own and is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "hugging_face": ["clips_from_dataset", "clips_to_dataset", "write_audio_folder"],
        "onnx_export": ["to_onnx"],
        "torch_metric": ["MOSMetric"],
    },
)
