# The images of Landfall: `docker build --target controller .`, `--target announcer` and `--target probe`. BuildKit, podman
# and buildah build it, for amd64 and arm64; `make image` calls whichever there is.
#
# An image holds one program and what it needs: libc, libgcc_s, and the certificates that the world's authorities are
# known by. No shell, no package manager.
#
# Programs that are built already come in by `--build-context binaries=DIR`, which stands for the stage of that name:
# so a changed program is in an image without a compiler in a container.
ARG RUST=docker.io/library/rust:1.95-bookworm
ARG DEBIAN=docker.io/library/debian:bookworm-slim

FROM ${RUST} AS compile
WORKDIR /src
# The tools first: they change less often than the sources.
COPY hack/setup.sh hack/setup.sh
COPY rust-toolchain.toml .
RUN hack/setup.sh build
COPY . .
ARG LANDFALL_REVISION=unknown
RUN cargo build --release --locked -p landfall-controller -p landfall-announcer -p landfall-probe

FROM scratch AS binaries
COPY --from=compile /src/target/release/landfall-controller /src/target/release/landfall-announcer /src/target/release/landfall-probe /

# The root: files of Debian's packages, their licences, and their records where scanners look for them.
FROM ${DEBIAN} AS packages
RUN dpkg -s ca-certificates >/dev/null 2>&1 || { apt-get update && apt-get install -y --no-install-recommends ca-certificates; }
COPY hack/image-root.sh /tmp/
RUN sh /tmp/image-root.sh /root-of-image libc6 libgcc-s1 ca-certificates

FROM scratch AS root
COPY --from=packages /root-of-image /
# Where rustls and OpenSSL look; said, so that it is true for every library.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ARG LANDFALL_REVISION=unknown
LABEL org.opencontainers.image.vendor="Landfall" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.base.name="scratch" \
      org.opencontainers.image.revision="${LANDFALL_REVISION}"

FROM root AS controller
LABEL org.opencontainers.image.title="landfall-controller" \
      org.opencontainers.image.description="Gives Services and Gateways addresses from pools"
COPY --from=binaries /landfall-controller /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/landfall-controller"]

FROM root AS announcer
LABEL org.opencontainers.image.title="landfall-announcer" \
      org.opencontainers.image.description="Answers ARP and NDP for the addresses of a node, and balances over XDP"
COPY --from=binaries /landfall-announcer /usr/local/bin/
# Root, because only root may write below the bpf file system; the DaemonSet says what this root may do.
USER 0:0
ENTRYPOINT ["/usr/local/bin/landfall-announcer"]

FROM root AS probe
LABEL org.opencontainers.image.title="landfall-probe" \
      org.opencontainers.image.description="Backends and a client for landfall connectivity test"
COPY --from=binaries /landfall-probe /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/landfall-probe"]
