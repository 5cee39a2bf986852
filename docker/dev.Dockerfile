# Everything that the tests need:
#   docker build -f docker/dev.Dockerfile -t trocar:dev .
#   docker run --rm -it -v "$PWD:/srv/trocar" trocar:dev make test
FROM python:3.11-bookworm
LABEL org.opencontainers.image.title="trocar-dev" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="The environment of Trocar's tests." \
      trocar-sbom="/usr/share/trocar/sbom.cdx.json"
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make git valgrind doxygen chromium debian-archive-keyring \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 trocar \
    && install -d -o trocar /srv/trocar /usr/share/trocar
USER trocar
WORKDIR /srv/trocar
COPY --chown=trocar . .
RUN scripts/setup_venv.sh dev,rtx,openvino \
    && .venv/bin/python scripts/make_sbom.py --extra dev /usr/share/trocar/sbom.cdx.json
ENV PATH=/srv/trocar/.venv/bin:$PATH
HEALTHCHECK --interval=5m --timeout=120s --start-period=60s CMD ["trocar", "doctor"]
CMD ["make", "test"]
