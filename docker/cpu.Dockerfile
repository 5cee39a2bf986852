# Trocar on a CPU:  docker build -f docker/cpu.Dockerfile -t trocar:cpu .
#   docker run --rm --network none -v "$PWD:/data" trocar:cpu run model.trocar video.mp4 --json out.jsonl
FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make debian-archive-keyring \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The wheel contains libtrocar; its build fetches the C header of ONNX Runtime from Debian.
RUN TROCAR_CPP=1 pip wheel --no-cache-dir --no-deps --wheel-dir /wheels cmake==4.4.5 . \
    && pip wheel --no-cache-dir --wheel-dir /wheels -c constraints.txt "$(ls /wheels/trocar-*.whl)[cpu,signing]"

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="trocar" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Finds instruments in surgical video, on a CPU. For research use only." \
      trocar-sbom="/usr/share/trocar/sbom.cdx.json"
RUN useradd --create-home --uid 10001 trocar
COPY --from=build /wheels /tmp/wheels
COPY scripts/make_sbom.py /tmp/make_sbom.py
RUN pip install --no-cache-dir --no-index --find-links /tmp/wheels "trocar[cpu,signing]==0.1.0" packaging==26.3 \
    && python /tmp/make_sbom.py --extra cpu --extra signing /usr/share/trocar/sbom.cdx.json \
    && rm -rf /tmp/wheels /tmp/make_sbom.py
USER trocar
WORKDIR /data
HEALTHCHECK --interval=5m --timeout=60s --start-period=30s CMD ["trocar", "doctor"]
ENTRYPOINT ["trocar"]
CMD ["--help"]
