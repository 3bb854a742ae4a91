# The image of weir: one binary, run as a user without rights, with its models in a volume.
#
#   docker build -t weir .
#   docker run --rm weir demo --once
#
# The binary is stripped. Its symbols are the stage `symbols`.

FROM rust:1-bookworm AS build
WORKDIR /weir
COPY . .
# Dependencies and librdkafka stay in the caches, so that a change of weir's own code rebuilds only that.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/weir/target \
    cargo build --profile dist --locked \
    && mkdir /out \
    && objcopy --only-keep-debug target/dist/weir /out/weir.debug \
    && cd /out && objcopy --strip-all --add-gnu-debuglink=weir.debug /weir/target/dist/weir weir

# The symbols, for gdb and for names in backtraces: `docker build --target symbols --output . .`
FROM scratch AS symbols
COPY --from=build /out/weir.debug /

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin weir \
    && install --directory --owner weir --group weir /models
COPY LICENSE /usr/share/doc/weir/LICENSE
COPY --from=build /out/weir /usr/local/bin/weir

# The number, since Kubernetes can't tell from a name that it isn't root.
USER 10001:10001
# The default store is ./models.
WORKDIR /
VOLUME /models
EXPOSE 8080
ENTRYPOINT ["weir"]
CMD ["--help"]
