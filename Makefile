# The commands people and CI use. Each one works alone on a fresh checkout; the work is done by the
# short scripts in scripts/, so that this file stays a table of contents.

# A shell that has not read rustup's environment file yet still finds cargo.
export PATH := $(HOME)/.cargo/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run setup test lint fmt audit bench

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A release build: what a first user sees should start and deliver at the speed the README promises.
run: ## Build Demae and start it for development (SQLite, built-in inbox)
	@scripts/setup build
	cargo run --release -p demae -- dev

setup: ## Install what building and testing need (says what it does; quick when nothing is missing)
	@scripts/setup

test: ## Run every test, after make setup
	@scripts/setup
	@scripts/test

lint: ## Check formatting, clippy, forbidden crate edges, circles of files, licences, texts and deploy/
	@scripts/setup lint
	@scripts/lint

fmt: ## Format all Rust sources
	cargo fmt --all

audit: ## Check the dependencies against the advisory database (needs cargo-deny and a network)
	cargo deny check advisories

# What to measure can be narrowed: make bench ARGS="--quick --only latency --store postgres"
bench: ## Measure throughput and latency; writes docs/benchmarks.md
	@scripts/setup
	cargo build --release -p demae
	cargo run --release -p demae-bench -- $(ARGS)
