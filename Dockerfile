# Two images from one build: `docker build --target controller` and `--target announcer`.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY hack/setup.sh hack/setup.sh
COPY rust-toolchain.toml .
RUN hack/setup.sh build
COPY . .
ARG LANDFALL_REVISION=unknown
RUN cargo build --release --locked -p landfall-controller -p landfall-announcer

FROM debian:bookworm-slim AS controller
COPY --from=build /src/target/release/landfall-controller /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/landfall-controller"]

FROM debian:bookworm-slim AS announcer
COPY --from=build /src/target/release/landfall-announcer /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/landfall-announcer"]
