# The reader in a container: CPU, no torch, no root, a root file system that nothing writes to.
#
#   docker build -t mris-reader .
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
#     -v "$PWD/knees.bundle:/bundle:ro" -v "$PWD/token:/run/token:ro" -p 127.0.0.1:8765:8765 mris-reader
#
# People can be removed from a bundle that is mounted without :ro, and that the user 10001 may change.
FROM python:3.11-slim AS wheel
WORKDIR /build
COPY pyproject.toml constraints.txt README.md CHANGELOG.md LICENSE NOTICE CITATION.cff ./
COPY src src
RUN python -m pip install --no-cache-dir -c constraints.txt build hatchling \
 && python -m build --wheel --no-isolation --outdir /dist .

FROM python:3.11-slim
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /dist /dist
RUN python -m pip install --no-cache-dir -c /tmp/constraints.txt "$(echo /dist/*.whl)[serve,dicom]" \
 && rm -rf /dist /tmp/constraints.txt \
 && useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin reader
USER 10001
WORKDIR /
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8765
HEALTHCHECK --interval=60s --timeout=120s --start-period=60s CMD ["mris", "serve", "/bundle", "--check"]
CMD ["mris", "serve", "/bundle", "--host", "0.0.0.0", "--token-file", "/run/token"]
