"""Compilation of the kernels for GPUs: sources, compilers and cached binaries.

cache.cached_binary("hard.cu", (("LABEL", "int"),), "sm_90")

The folder is not called ``build``, because git, ruff and pytest skip folders of that name.
"""
