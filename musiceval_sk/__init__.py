"""Predict what expert listeners would say of generated music.

Two things that fit together: an embedding cache (clips and prompts go in, CLAP vectors come out of HDF5) and
scikit-learn style estimators (vectors go in, mean opinion scores come out, judged per clip and per system).
"""

import lazy_loader

from musiceval_sk._version import __version__ as __version__

# The stub __init__.pyi is the one list of public names; each is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
