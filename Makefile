.PHONY: demo test lint bench
demo:
	cargo run -p klaroen -- demo
test:
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace --all-targets; else cargo test --workspace --all-targets; fi
	cargo test --workspace --doc --quiet
lint:
	cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings
	if cargo deny --version >/dev/null 2>&1; then cargo deny check; fi
bench:
	cargo run --release -p klaroen -- bench --json target/bench.json
