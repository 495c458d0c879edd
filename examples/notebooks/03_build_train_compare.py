# %% [markdown]
# # Build, train and compare
#
# The whole job from Python, as `mixproof run` does it. What is done already is reused, so the cells can be run again.

# %%
import os

import mixproof

spec = mixproof.load_spec(os.environ.get("MIXPROOF_SPEC", ".demo/demo.yaml"))
store = os.environ.get("MIXPROOF_STORE", ".demo/store")
{name: mixture.model_dump(mode="json", exclude_defaults=True) for name, mixture in spec.spec.mixtures.items()}

# %%
build = mixproof.build(spec, store)
print(build.stages_run, "stages run,", build.stages_reused, "reused")
build.store.builds.to_pandas()[["documents", "tokens", "bytes"]]

# %%
runs = mixproof.train(spec, store)
[(run.mixture, run.seed, run.status) for run in runs]

# %% [markdown]
# ## Which mixture is better?
#
# The verdict in a sentence, and the ranking with the two parts of its uncertainty: other seeds and other
# held-out documents.

# %%
compared = build.store.compare(spec.path)
print(compared.verdict)
compared.ranking.to_pandas()[["proxy", "rank", "mixture", "objective", "seeds_margin", "documents_margin"]]

# %% [markdown]
# A mistake in a spec is an error with its file, line and key.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

with TemporaryDirectory() as folder:
    wrong = Path(folder, "wrong.yaml")
    wrong.write_text(spec.path.read_text().replace("mixtures:", "mixtrues:"))
    try:
        mixproof.load_spec(wrong)
    except mixproof.SpecError as error:
        print(str(error).replace(folder, ""))
