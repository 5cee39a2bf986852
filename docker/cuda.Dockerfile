# Trocar on an NVIDIA GPU, with CUDA 13, TensorRT and TensorRT's engines:
#   docker build -f docker/cuda.Dockerfile -t trocar:cuda .
#   docker run --rm --gpus all --network none -v "$PWD:/data" trocar:cuda run model.trocar video.mp4 --device cuda
FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make debian-archive-keyring \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN TROCAR_CPP=1 pip wheel --no-cache-dir --no-deps --wheel-dir /wheels cmake==4.4.5 .

FROM nvcr.io/nvidia/cuda:13.0.1-cudnn-devel-ubuntu24.04
LABEL org.opencontainers.image.title="trocar" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Finds instruments in surgical video, on a GPU. For research use only." \
      trocar-sbom="/usr/share/trocar/sbom.cdx.json"
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-dev python3-venv g++ \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/trocar \
    && useradd --create-home --uid 10001 trocar
ENV PATH=/opt/trocar/bin:$PATH
COPY --from=build /wheels /tmp/wheels
COPY constraints.txt scripts/make_sbom.py /tmp/
# pycuda is built here: it needs a compiler and the headers of CUDA.
RUN pip install --no-cache-dir -c /tmp/constraints.txt "$(ls /tmp/wheels/trocar-*.whl)[gpu,signing]" packaging==26.3 \
    && python3 /tmp/make_sbom.py --extra gpu --extra signing /usr/share/trocar/sbom.cdx.json \
    && rm -rf /tmp/wheels /tmp/constraints.txt /tmp/make_sbom.py
USER trocar
WORKDIR /data
HEALTHCHECK --interval=5m --timeout=60s --start-period=30s CMD ["trocar", "doctor"]
ENTRYPOINT ["trocar"]
CMD ["--help"]
