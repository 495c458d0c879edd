# %% [markdown]
# # Runs and their curves
#
# A row a run, a row a step, and the held-out scores by source.

# %%
import os

import pandas as pd

import mixproof

store = mixproof.open(os.environ.get("MIXPROOF_STORE", ".demo/store"))
columns = ["mixture", "proxy", "seed", "status", "consumed_tokens", "unique_tokens", "parameters"]
store.runs.to_pandas()[columns]

# %% [markdown]
# ## Declared, planned, delivered
#
# Delivered tokens are replayed from the index that the run read.

# %%
delivered = [
    {"mixture": run.mixture, "seed": run.seed, "source": name, **source.model_dump()}
    for run in store.runs
    for name, source in run.delivered.items()
]
pd.DataFrame(delivered)[["mixture", "seed", "source", "declared", "planned", "tokens", "epochs"]]

# %%
assert all(row["tokens"] == row["planned"] for row in delivered)

# %% [markdown]
# ## The loss, step by step
#
# `loss/<source>` is the loss on the windows of one source.

# %%
run = store.runs[0]
losses = store.losses(run).to_pandas().set_index("step")
losses.filter(like="loss").rolling(5, min_periods=1).mean().iloc[::5]

# %% [markdown]
# ## Held-out scores
#
# Bits per byte, lower is better.

# %%
scores = [
    {"mixture": run.mixture, "seed": run.seed, "heldout": name, "bits_per_byte": score.bits_per_byte}
    for run in store.runs
    for name, score in run.heldout.items()
]
pd.DataFrame(scores).pivot_table(index=["mixture", "seed"], columns="heldout", values="bits_per_byte")
