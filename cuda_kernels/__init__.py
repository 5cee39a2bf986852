"""Grey-level co-occurrence matrices of label maps and predictions, and their entropy.

    soft_glcm_entropy(logits, from_logits=True).mean().backward()

There is one definition and three backends: ``reference`` (NumPy, normative), ``torch`` (any device)
and ``cuda`` (kernels, which are also tested on the CPU). Importing this package imports neither
torch nor pycuda.
"""

from trocar.cuda_kernels.api import glcm, glcm_entropy, soft_glcm, soft_glcm_entropy
from trocar.cuda_kernels.backends.select import BACKENDS, default_backend
from trocar.cuda_kernels.offsets import DEFAULT_OFFSETS, Offset, offsets_from

__all__ = [
    "BACKENDS",
    "DEFAULT_OFFSETS",
    "Offset",
    "default_backend",
    "glcm",
    "glcm_entropy",
    "offsets_from",
    "soft_glcm",
    "soft_glcm_entropy",
]
