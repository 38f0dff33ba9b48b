.PHONY: demo test soak lint bench
demo:
	cargo run -p klaroen -- demo
test:
	tests/run
# The same with many more kills and random cases; takes an hour or more.
soak:
	KLAROEN_SOAK=20 PROPTEST_CASES=5000 NEXTEST_PROFILE=soak tests/run
lint:
	cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings
	if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; fi
bench:
	cargo build --release -p klaroen
	cargo run --release -p klaroen-bench -- --json target/bench.json
