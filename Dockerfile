# syntax=docker/dockerfile:1
# The daemon as a small image. Also the image of the demo's simulator and preparation: --target demo.

ARG SWIFT_VERSION=6.3
ARG DEBIAN=bookworm

# Build

FROM swift:${SWIFT_VERSION}-${DEBIAN} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends pkg-config libpq-dev libssl-dev libprotobuf-c-dev libgrpc-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# The Swift runtime goes into the executables, so that the run stage needs no Swift.
RUN --mount=type=cache,target=/source/.build,sharing=locked \
    for product in scada-ingestion scada-simulator; do \
        swift build -c release --static-swift-stdlib --product "$product" || exit 1; \
    done \
    && install -D -t /out "$(swift build -c release --static-swift-stdlib --show-bin-path)"/scada-ingestion \
        "$(swift build -c release --static-swift-stdlib --show-bin-path)"/scada-simulator

# What both images run on: runtime libraries only, and a user that is not root

FROM debian:${DEBIAN}-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libpq5 libssl3 libprotobuf-c1 libgrpc29 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 scada \
    && useradd --system --uid 10001 --gid scada --home-dir /var/lib/scada-ingestion --shell /usr/sbin/nologin scada \
    && install -d -o scada -g scada -m 0700 \
        /var/lib/scada-ingestion /var/lib/scada-ingestion/journal /var/lib/scada-ingestion/pki
WORKDIR /var/lib/scada-ingestion
USER scada

# The demo's other programs

FROM base AS demo
USER root
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/scada-ingestion /out/scada-simulator /usr/local/bin/
COPY --chmod=0755 Config/compose/prepare /usr/local/bin/prepare-demo
USER scada
CMD ["scada-simulator", "--host", "0.0.0.0", "--profile", "normal"]

# The daemon

FROM base AS daemon
ARG VERSION=1.0.0
LABEL org.opencontainers.image.title="scada-ingestion" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/scada-ingestion /usr/local/bin/
ENV JOURNAL_DIR=/var/lib/scada-ingestion/journal \
    OPC_PKI_DIR=/var/lib/scada-ingestion/pki \
    LOG_FORMAT=json
# The journal holds readings that the database does not have yet: losing this volume loses them.
VOLUME ["/var/lib/scada-ingestion/journal", "/var/lib/scada-ingestion/pki"]
EXPOSE 9090 50051
STOPSIGNAL SIGTERM
# bash speaks enough HTTP for this; the image needs no curl.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/${METRICS_PORT:-9090} && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r answer <&3 && [[ $answer == *' 200 '* ]]"]
ENTRYPOINT ["scada-ingestion"]
CMD ["serve"]
