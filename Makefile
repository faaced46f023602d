# Two commands set everything up: `make up` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help up build test demo bench bench-peers accept prove tools-build tools-test tools-bench clean-tests \
        accept-first-use accept-posix accept-programs accept-bigdir accept-bigfile accept-at-rest \
        accept-crash accept-wrong-disk accept-memory accept-bad-input accept-speed

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
CAIRN  := $(TARGET)/release/cairn

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' Makefile

up: build ## install what is missing, build a release, mount ~/Cairn; Ctrl-C unmounts
	exec "$(CAIRN)" up

build: tools-build ## the release binary alone
	cargo build --release --package cairn-cli

test: tools-test ## everything: format, lints, arrows, unit, integration and FUSE tests
	scripts/test.sh

demo: tools-test ## copy real trees in, build inside the mount, kill, restore, compare; no questions
	cargo build --release --package cairn-cli --package cairn-fuse-tests
	"$(TARGET)/release/demo"

bench: tools-bench ## sealing, put/get beside restic, the mount beside ext4 and gocryptfs
	cargo build --release --package cairn-cli --package cairn-fuse-tests
	cargo build --release --package cairn-block --examples
	"$(TARGET)/release/bench"

bench-peers: tools-bench ## restic, borg, rustic, gocryptfs and the disk beside us: docs/BENCHMARKS.md; CAIRN_SCALE=short to try
	scripts/bench_peers.sh

accept: tools-test tools-bench ## every row of the acceptance table, at full size (hours)
	scripts/full.sh accept all

accept-first-use: tools-test ## writable within 2 s of the start, as root and as an ordinary user
	scripts/full.sh accept first_use
accept-posix: tools-test ## pjdfstest whole; fsx 1,000,000 operations x 5 seeds with remounts
	scripts/full.sh accept judges
accept-programs: tools-test ## git, cargo, SQLite 10,000 transactions, rsync, tar, editors
	scripts/full.sh accept programs
accept-bigdir: tools-test ## 1,000,000 entries in one directory
	scripts/full.sh accept bigdir
accept-bigfile: tools-test ## a sparse 1 TiB file; a 20 GiB file overwritten at random
	scripts/full.sh accept bigfile
accept-at-rest: tools-test ## canaries are found nowhere on the disk
	scripts/full.sh accept at_rest
accept-crash: tools-test ## 100 kills in a mixed workload; the index deleted
	scripts/full.sh accept crash
accept-wrong-disk: tools-test ## every file of the store truncated, zeroed, with a bit flipped
	scripts/full.sh accept wrong_disk
accept-memory: tools-test ## an idle node; ten million blocks in the index
	scripts/full.sh accept memory
accept-bad-input: tools-test ## wrong passphrase, newer store, two nodes, full disk, typos
	scripts/full.sh accept bad_input
accept-speed: bench ## the same as `make bench`

prove: tools-test ## every rig at full size: power cuts, errors, kills, flipped bits, hostile bytes (hours); ROW=power for one
	scripts/full.sh prove $(or $(ROW),all)

clean-tests: ## unmount and remove what a killed test run left behind
	scripts/full.sh sweep

tools-build:
	@scripts/packages.sh build
tools-test:
	@scripts/packages.sh build test
tools-bench:
	@scripts/packages.sh build bench
