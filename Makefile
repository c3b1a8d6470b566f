# Everything here works on a fresh machine with Rust 1.95, a C compiler, make, and Python 3.11 with venv and pip.
.PHONY: bench calibration clippy deny doc fmt oracle python rivals test units validity

# One compile profile, so that the demo, the tests and the benchmarks share a build.
CARGO = cargo
# All features: one that no test builds is one that nobody can trust.
FEATURES = --features taggant/beacon,taggant/parquet
NEXTEST := $(shell $(CARGO) nextest --version 2>/dev/null)

# The oracle takes a sixth of its inputs here; alone it takes all.
test: EVERY = 6
test: fmt clippy units doc python oracle

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --release --workspace $(FEATURES) --all-targets -- -D warnings

# Unit, property, vector, calibration and command-line tests.
units:
ifdef NEXTEST
	$(CARGO) nextest run --release --workspace $(FEATURES) --lib --bins --tests --examples
else
	$(CARGO) test --release --workspace $(FEATURES) --lib --bins --tests --examples
endif

# The examples in the documentation, and the documentation itself.
doc:
	$(CARGO) test --release --workspace $(FEATURES) --doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace $(FEATURES) --no-deps --quiet

# An independent re-derivation of the known answers, standard library only.
python:
	python3 tests/check_vectors.py

# Compares the program with a second implementation in Python, number by number; the first run installs numpy, scipy
# and mpmath with pip. BUNDLE=taggant-demo/bundle.json re-derives a demo's findings too.
EVERY = 1
ORACLE = target/oracle/bin/python tests/oracle/run.py

oracle: target/oracle/ready
	$(CARGO) build --release --workspace $(FEATURES) --bins
	$(ORACLE) --binary $(or $(CARGO_TARGET_DIR),target)/release/taggant --every $(EVERY) $(if $(BUNDLE),--bundle $(BUNDLE))

target/oracle/ready: tests/oracle/requirements.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make oracle needs Python 3.11 or later as python3"; exit 1; }
	@python3 -c 'import ensurepip, venv' || \
		{ echo "make oracle needs Python's venv and pip; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	python3 -m venv --clear target/oracle
	@target/oracle/bin/python -m pip install --quiet --only-binary :all: --requirement tests/oracle/requirements.txt || \
		{ echo "make oracle needs $$(tr '\n' ' ' < tests/oracle/requirements.txt)from PyPI, and pip did not get them"; exit 1; }
	touch $@

# The calibration tests with five times as many keys, each line of their tables printed.
calibration:
	TAGGANT_CALIBRATION_KEYS=10000 $(CARGO) test --release --test calibration -- --nocapture

# The table of canaries under H0 with 10,000 keys: every family over awkward innocents, and each wrong way to test.
validity:
	TAGGANT_CALIBRATION_KEYS=10000 $(CARGO) test --release --test canaries -- --nocapture --test-threads=1 validity likelihood twins

# Ratios in one run; never part of the tests.
bench:
	$(CARGO) bench --bench core --bench stat --bench decoys

# Beside the packages of others on one core, in one run; the first installs torch and them with pip (5 GB).
rivals: target/rivals/ready
	$(CARGO) bench --no-run --bench rivals
	target/rivals/bin/python benches/rivals.py $(CARGO) bench --quiet --bench rivals

target/rivals/ready: benches/rivals.txt
	python3 -m venv --clear target/rivals
	target/rivals/bin/python -m pip install --quiet --requirement benches/rivals.txt
	target/rivals/bin/python -m pip install --quiet --no-deps synthid-text==0.2.1
	touch $@

# Needs cargo-deny; the advisory database needs a network.
deny:
	$(CARGO) deny check licenses bans sources
