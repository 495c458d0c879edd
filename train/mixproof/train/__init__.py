"""Proxies: draws and streams, training on Megatron Core, evaluation, comparison.

Importing Megatron Core warns about what a CPU machine has not got and about its own future; no user can act
on that, so exactly these messages are silenced, before any of its modules is imported.
"""

import warnings

# Megatron uses torch's own kernels where these two are not installed, which is what this room wants
warnings.filterwarnings("ignore", r"Transformer Engine and Apex are not installed", UserWarning)
warnings.filterwarnings("ignore", r"Apex is not installed\. Falling back to Torch Norm", UserWarning)
