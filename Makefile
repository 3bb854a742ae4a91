# What a person does with weir's source. `make` lists it; each target says what it does while it does it.

.DEFAULT_GOAL := help
.PHONY: help demo test chaos simulate fuzz check bench bench-peers soak kafka

# The tools that scripts/setup fetched.
export PATH := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/weir/bin:$(PATH)

# Arguments for the demo or for the benchmarks.
ARGS ?=

# How many tests run at once: most of them wait for Kafka.
THREADS ?= $(shell expr 2 \* $$(nproc))

# How many inputs `make fuzz` tries, and the seed that they come from.
CASES ?= 10000000
SEED ?= 1

# How many seeds `make simulate` tries.
SEEDS ?= 1000000

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## train, serve, swap and watch a model on real flights, on an embedded broker (ARGS=--once: end after one round)
	@scripts/setup demo
	@echo "demo: building weir (some minutes the first time)"
	@cargo run --release --locked -- demo $(ARGS)

# A broker of a minute spends most of its CPU time on compiling what it runs.
test: export KAFKA_JVM_PERFORMANCE_OPTS ?= -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
test: ## all tests, on the embedded broker, on a real Kafka and beside scikit-learn and onnxruntime; chaos in its short form; instructions per record
	@scripts/setup build
	@echo "test: building weir and its tests, while setup fetches what they run (some minutes the first time)"
	@scripts/setup test & setup=$$!; \
		cargo test --locked --no-run --features mpi,planted-bugs $(ARGS); built=$$?; \
		wait $$setup && exit $$built
	RUST_TEST_THREADS=$(THREADS) cargo test --locked --features mpi,planted-bugs $(ARGS)
	@echo "test: counting instructions, in a release build (some minutes the first time)"
	cargo bench --locked -p weir-counts

chaos: ## weir among 200 faults and 5 million records, per delivery (ARGS="--seed N --faults N --records N --brokers N --delivery D")
	@scripts/setup test
	@echo "chaos: building weir (some minutes the first time); then it takes about an hour"
	cargo test --release --locked --features planted-bugs --test chaos -- \
		--faults 200 --records 5000000 --brokers 3 --results tests/chaos/results $(ARGS)

simulate: ## the worker loop among simulated brokers and in simulated time, as many seeds as one likes (SEEDS=N; one with its trace: WEIR_SEED=N)
	@scripts/setup demo
	WEIR_SEEDS=$(SEEDS) cargo test --locked --features mpi,planted-bugs --lib simulation -- --nocapture

check: ## format, lints of code and scripts with warnings denied, documentation, licences of dependencies
	@scripts/setup check
	cargo fmt --all --check
	shellcheck .ci/run benches/peers/mlserver/start scripts/kafka scripts/setup
	cargo deny --locked check bans licenses sources
	cargo clippy --locked --workspace --all-targets --features mpi,planted-bugs -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps

fuzz: ## ten million inputs for all that reads what comes from outside (CASES=N SEED=N)
	@scripts/setup test
	@echo "fuzz: building weir and its tests (some minutes the first time)"
	WEIR_FUZZ_CASES=$(CASES) WEIR_FUZZ_SEED=$(SEED) cargo test --locked --features mpi,planted-bugs --test tests fuzz:: -- --nocapture

bench: ## weir beside a plain loop on a real Kafka, training beside scikit-learn, and the micro benchmarks
	@scripts/setup test
	@echo "bench: building weir and its benchmarks (some minutes the first time)"
	cargo bench --locked --features mpi $(ARGS)
	cargo bench --locked --features mpi --bench peers -- --latency $(ARGS)

bench-peers: ## weir beside a plain loop, Python, Kafka Streams, Quix and MLServer: throughput, latency, other networks, scale
	@scripts/setup peers
	@echo "bench-peers: building weir (some minutes the first time); then it takes about an hour"
	cargo bench --locked --bench peers -- --all --results benches/peers/results $(ARGS)
	cargo bench --locked --bench peers -- --all --latency --results benches/peers/results $(ARGS)
	cargo bench --locked --bench peers -- --all --workload crayfish --records 100000 --results benches/peers/results $(ARGS)
	cargo bench --locked --bench peers -- --workload large --records 100000 --results benches/peers/results $(ARGS)
	cargo bench --locked --bench peers -- --batching --results benches/peers/results $(ARGS)
	cargo bench --locked --bench peers -- --scale --results benches/peers/results $(ARGS)

soak: ## weir for half an hour at 20,000 records/s, with swaps in every other minute: is its memory flat, and its latency?
	@scripts/setup kafka
	cargo bench --locked --bench peers -- --soak 30 --results benches/peers/results $(ARGS)

kafka: ## a real Kafka broker on 127.0.0.1:9092 in the foreground (ARGS="--port 9093 --data DIR")
	@scripts/setup kafka
	@exec scripts/kafka $(ARGS)
