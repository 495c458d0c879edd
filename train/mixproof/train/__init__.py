"""Proxies: draws and streams, training on Megatron Core, evaluation, comparison.

Importing Megatron Core warns about packages that a CPU machine lacks. Users cannot act on these warnings, so exactly
these messages are filtered before any of its modules is imported.
"""

import warnings

# without these two packages Megatron uses torch's kernels, as intended here
warnings.filterwarnings("ignore", r"Transformer Engine and Apex are not installed", UserWarning)
warnings.filterwarnings("ignore", r"Apex is not installed\. Falling back to Torch Norm", UserWarning)
