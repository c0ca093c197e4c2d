# Shoal: everything a user or a contributor does, by name. `make` alone lists it.

CARGO   ?= cargo
PREFIX  ?= /usr/local
DESTDIR ?=
INSTALL ?= install

BINARIES := shoal-tracker shoal-peer
BIN_DIR   = $(DESTDIR)$(PREFIX)/bin
# A toolchain just installed is found before the next log-in.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Where cargo puts what it builds.
TARGET   := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help build test bench bench-quick sim demo fuzz lint install uninstall clean

help: ## list what can be made
	@awk 'BEGIN { FS = ":[^#]*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo "  PREFIX=$(PREFIX) and DESTDIR=$(DESTDIR) are where install puts the two programs"

build: ## build both programs, optimised (target/release)
	$(CARGO) build --locked --release --bins

test: ## run all tests, and each bench once in its small form
	$(CARGO) test --locked
	$(CARGO) test --locked --bench '*'

bench: ## measure everything, beside others where they are installed: target/bench/report.md; ONLY="a b/part" names some
	bash benches/run.sh all $(ONLY)

bench-quick: ## the same with less of everything, for three minutes after the build
	bash benches/run.sh quick $(ONLY)

sim: ## run the gates of the simulator, print their figures and draw them (target/sim)
	$(CARGO) bench --locked --bench sim

demo: build ## share a file and a folder, fetch both with four peers at once, compare every copy
	bash tests/demo.sh $(TARGET)/release

fuzz: ## fuzz every reader of foreign bytes, each for TIME=60 seconds; ONLY="a b" names some
	$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	bash tests/fuzz/run.sh $(TARGET)/fuzz $(or $(TIME),60) $(ONLY)

lint: ## check the formatting and every lint, warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

install: build ## install both programs into PREFIX/bin
	$(INSTALL) -d "$(BIN_DIR)"
	for name in $(BINARIES); do $(INSTALL) -m 755 "$(TARGET)/release/$$name" "$(BIN_DIR)/$$name" || exit 1; done

uninstall: ## remove both programs from PREFIX/bin
	for name in $(BINARIES); do rm -f "$(BIN_DIR)/$$name" || exit 1; done

clean: ## remove everything that was built
	$(CARGO) clean
