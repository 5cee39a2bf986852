"""Compilation of the kernels for GPUs: sources, compilers and cached binaries.

from trocar.cuda_kernels.compilation.cache import cached_binary

The folder is not called ``build``, because git, ruff and pytest skip folders of that name.
"""
