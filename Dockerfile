# The steps of `make install`, in an image. Two stages: the compilers that packages may need stay in the first.
#
#   docker build -t mixproof .                                                                            CPU
#   docker build -t mixproof --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .             CUDA
#   docker run --rm --shm-size=1g -v "$PWD:/work" mixproof run spec.yaml
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /mixproof
COPY . .
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --quiet --disable-pip-version-check \
        --extra-index-url "${TORCH_INDEX}" -c constraints.txt '.[all,lm-eval,wandb]'

FROM python:${PYTHON}-slim-bookworm
ENV PATH=/mixproof/.venv/bin:$PATH RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1
RUN useradd --create-home --uid 1000 mixproof
COPY --from=build /mixproof/.venv /mixproof/.venv
USER 1000
WORKDIR /work
ENTRYPOINT ["mixproof"]
CMD ["doctor"]
