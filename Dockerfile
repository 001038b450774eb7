# The credits-payout service, and nothing else of the workbench. Guide: docs/docker.md.
#   docker build -t credits-payout .
#   docker run --rm -p 8080:8080 --env-file .env -v $(pwd)/data:/app/data credits-payout
# A digest can be given instead of the tag: --build-arg PYTHON=python@sha256:…
ARG PYTHON=python:3.11-slim-bookworm

# --- Build: packages by hash, from the lock; the workbench as a wheel. pip stays here. ---
FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements.lock ./
COPY tools/runtime_lock.py tools/
RUN python tools/runtime_lock.py requirements.lock > payouts.lock \
 && python tools/runtime_lock.py requirements.lock hatchling > build.lock \
 && python -m venv --without-pip /opt/venv \
 && python -m venv tools/venv \
 && pip --python /opt/venv/bin/python install --no-deps --require-hashes --only-binary :all: -r payouts.lock \
 && tools/venv/bin/pip install --no-deps --require-hashes --only-binary :all: -r build.lock
COPY pyproject.toml LICENSE README.md ./
COPY workbench workbench
RUN tools/venv/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir wheels . \
 && pip --python /opt/venv/bin/python install --no-index --no-deps wheels/*.whl

# --- What is served ---
FROM ${PYTHON}
# Found first, and nothing is imported from the folder that the data is in.
ENV PATH=/opt/venv/bin:$PATH PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The numbers are those of workbench/commands/container.py.
RUN groupadd --gid 10001 workbench \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin workbench \
 && install -d -o 10001 -g 10001 /app/data
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
VOLUME /app/data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "workbench.commands.container", "healthy"]
# No USER: a mounted folder is root's or somebody's. The entry gives it to 10001, and leaves root
# before it reads a setting. `--user 10001:10001` starts without root, if the folder is theirs.
ENTRYPOINT ["python", "-m", "workbench.commands.container"]
CMD ["payouts"]
