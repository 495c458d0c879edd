# %% [markdown]
# # What a build holds
#
# After `mixproof demo` in this folder: where every record went, and the documents themselves.
# Another store is opened by its path or URL.

# %%
import os

import mixproof

store = mixproof.open(os.environ.get("MIXPROOF_STORE", ".demo/store"))
build = store.builds[0]
store.builds.to_pandas()

# %% [markdown]
# ## The account
#
# By source, stage and reason. The documents of a source add up to the records that were read.

# %%
account = store.account(build).to_pandas()
account.pivot_table(index=["stage", "reason"], columns="source", values="documents", aggfunc="sum", fill_value=0)

# %%
records = {name: source.ledger[0].documents_in for name, source in store.manifest(build).sources.items()}
assert account.groupby("source").documents.sum().to_dict() == records
records

# %% [markdown]
# ## Documents
#
# Read as they are taken, with id, file and record. `is_original` says whether the text, which may be decoded
# from tokens, is the one that was tokenized.

# %%
documents = store.documents(build, build.sources[0], "heldout")
print(len(documents), "held-out documents of", build.sources[0])
documents.head(3).to_pandas()[["id", "tokens", "text_bytes", "is_original"]]

# %%
longest = max(documents, key=lambda document: document.tokens)
print(longest.id, longest.tokens, "tokens:", longest.text[:200])
