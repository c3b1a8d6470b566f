# Everything here works on a fresh machine with Rust 1.95, a C compiler, make and Python 3.11.
.PHONY: bench clippy deny doc fmt oracle python test units

# One compile profile, so that the demo, the tests and the benchmarks share a build.
CARGO = cargo
NEXTEST := $(shell $(CARGO) nextest --version 2>/dev/null)

test: fmt clippy units doc python

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

# Unit, property, vector, calibration and command-line tests.
units:
ifdef NEXTEST
	$(CARGO) nextest run --release --workspace --lib --bins --tests --examples
else
	$(CARGO) test --release --workspace --lib --bins --tests --examples
endif

# The examples in the documentation, and the documentation itself.
doc:
	$(CARGO) test --release --workspace --doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --quiet

# An independent re-derivation of the known answers, standard library only.
python:
	python3 tests/check_vectors.py

# Compares the built program with a second implementation in Python, number by number; the first run installs
# numpy, scipy and mpmath with pip. BUNDLE=taggant-demo/bundle.json re-derives a demo's findings too.
oracle: target/oracle/ready
	target/oracle/bin/python tests/oracle/run.py --binary target/release/taggant $(if $(BUNDLE),--bundle $(BUNDLE))

target/oracle/ready: tests/oracle/requirements.txt
	python3 -m venv target/oracle
	target/oracle/bin/pip install --quiet --requirement tests/oracle/requirements.txt
	touch $@

# Ratios in one run; never part of the tests.
bench:
	$(CARGO) bench --bench core --bench stat --bench decoys

# Needs cargo-deny; the advisory database needs a network.
deny:
	$(CARGO) deny check licenses bans sources
