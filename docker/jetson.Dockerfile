# Trocar on a Jetson with JetPack 6 or newer (TensorRT 10 comes with it). Build it on the Jetson:
#   docker build -f docker/jetson.Dockerfile --build-arg ORT_INDEX=https://… -t trocar:jetson .
#   docker run --rm --runtime nvidia --network none -v "$PWD:/data" trocar:jetson run model.trocar video.mp4 --device cuda
# ORT_INDEX is the package index of onnxruntime-gpu for this JetPack, as NVIDIA names it.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
ARG ORT_INDEX
LABEL org.opencontainers.image.title="trocar" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Finds instruments in surgical video, on a Jetson. For research use only." \
      trocar-sbom="/usr/share/trocar/sbom.cdx.json"
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-dev python3-venv g++ make \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --system-site-packages /opt/trocar \
    && useradd --create-home --uid 10001 --groups video trocar
ENV PATH=/opt/trocar/bin:$PATH
WORKDIR /src
COPY . .
RUN test -n "$ORT_INDEX" \
    && TROCAR_NO_CPP=1 pip install --no-cache-dir --extra-index-url "$ORT_INDEX" ".[jetson,signing]" packaging==26.3 \
    && python3 scripts/make_sbom.py --extra jetson --extra signing /usr/share/trocar/sbom.cdx.json \
    && rm -rf /src/*
USER trocar
WORKDIR /data
HEALTHCHECK --interval=5m --timeout=60s --start-period=30s CMD ["trocar", "doctor"]
ENTRYPOINT ["trocar"]
CMD ["--help"]
