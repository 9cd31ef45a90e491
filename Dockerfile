# The image of hashall, rehome and qbt-rules.  How to run it is in docs/Docker.md.
#
#   docker build --tag seedkeep .
#
# Any Debian with Python 3.11 or newer and its venv module can be the base.
ARG BASE=python:3.13-slim


FROM ${BASE} AS builder

# pip reads these as variables: another index, or a folder of wheels and no index at all.
ARG PIP_INDEX_URL
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

# For armv7 PyYAML and regex have no wheels: pip compiles them.  Elsewhere no compiler is needed.
# Debian's own Python has its headers in another package.
# hadolint ignore=DL3008
RUN if [ "$(dpkg --print-architecture)" = armhf ]; then \
        set -- gcc libc6-dev; \
        headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
        [ -e "$headers/Python.h" ] || set -- "$@" libpython3-dev; \
        apt-get update \
        && apt-get install --yes --no-install-recommends "$@" \
        && rm -rf /var/lib/apt/lists/*; \
    fi

# What compiles is pinned like what is compiled: without isolation pip fetches no tools of its own choice.
WORKDIR /src
COPY requirements/image.txt requirements/compile.txt requirements/
RUN python3 -m venv /build \
    && /build/bin/pip install --require-hashes --no-deps --requirement requirements/compile.txt \
    && /build/bin/pip wheel --require-hashes --no-deps --no-build-isolation --wheel-dir /wheels \
        --requirement requirements/image.txt

COPY LICENSE README.md pyproject.toml ./
COPY src src
# Everything that is installed here comes from /wheels, whose hashes were just compared.  Compiled files
# are taken as they are, never compared with their sources: a read-only container can write no others.
RUN /build/bin/pip install --no-index --find-links /wheels hatchling \
    && /build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python3 -m venv --without-pip /opt/seedkeep \
    && /build/bin/pip --python /opt/seedkeep install --no-index --find-links /wheels --no-compile 'seedkeep[redis]' \
    && /opt/seedkeep/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/seedkeep/lib


FROM ${BASE}

# A base that brings tini needs no archive.
# hadolint ignore=DL3008
RUN command -v tini \
    || { apt-get update \
        && apt-get install --yes --no-install-recommends tini \
        && rm -rf /var/lib/apt/lists/*; }

COPY --from=builder /opt/seedkeep /opt/seedkeep
COPY docker/entrypoint.sh /usr/local/bin/seedkeep-entrypoint
RUN chmod 755 /usr/local/bin/seedkeep-entrypoint \
    && for program in hashall rehome qbt-rules; do ln -s seedkeep-entrypoint "/usr/local/bin/$program"; done \
    && install --directory --owner 1000 --group 1000 /config

# Everything that is written lies below /config; temporary files too, where /tmp cannot be written.
ENV HOME=/config \
    HASHALL_DB=/config/catalog.db \
    LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    QBT_RULES_CONFIG_DIR=/config
WORKDIR /config
VOLUME /config
EXPOSE 5000

ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="seedkeep" \
    org.opencontainers.image.description="A catalog of every file, placement between two filesystems, and a rules controller for qBittorrent" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"
# For --version and /api/version.
ENV SEEDKEEP_COMMIT=${REVISION} \
    SEEDKEEP_BUILD_DATE=${CREATED}

# Whether the web process is alive.  A qBittorrent that is away does not make this container unhealthy.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["/opt/seedkeep/bin/python", "-IB", "-m", "qbt_rules.ping"]

# Root hands over to PUID:PGID; with `--user` there is no root at all.
ENTRYPOINT ["tini", "--", "seedkeep-entrypoint"]
CMD ["qbt-rules", "--serve"]
