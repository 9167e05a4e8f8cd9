# make demo    the whole story, from commit to cluster, on this machine
# make test    every test; sets up what is missing
# make soak    the tests that get better with time, at length: an hour or two
# make oldest  the cluster's tests with Kubernetes 1.30
# make bench   size, start time, speed and safety beside the rivals, yq and sed
# make dist    what is published: the program, a Debian package, the sync's image, what they are made of, sums
# make testbed, make testbed-down    the engine, registries, Kubernetes and git server that tests use

HOST := $(shell rustc -vV | sed -n 's/^host: //p')
RELEASE := target/$(HOST)/release/gitops-hooks
# What the test bed says of itself.
ENV := $(or $(GITOPS_HOOKS_TESTBED),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gitops-hooks/testbed)/env

# Static, so that it runs FROM scratch; without tables for unwinding, which nothing does here, and without this machine's
# paths. The target is named below so that these do not reach build scripts. The program itself is linked at a fixed address:
# a hook starts at every commit, and moving a binary of this size costs more than the rest of its start. OpenSSL writes down when
# it was built: at a moment that is always the same.
FLAGS := -C target-feature=+crt-static -C force-unwind-tables=no --remap-path-prefix=$(CURDIR)=. \
	--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo

.PHONY: demo clean-demo test soak oldest bench testbed testbed-down release dist

demo: release
	tests/demo/run $(RELEASE)

clean-demo:
	tests/demo/clean

test:
	tests/run-all $(RELEASE)

# SEED=number repeats a sequence that failed.
soak:
	tests/testbed/up
	tests/fuzz/run 600
	set -a; . "$(ENV)"; SOAK=1; set +a; \
		cargo test --locked --test kills --test faults --test manifest -- --nocapture && \
		cargo test --locked --test images --test registry --test engines && \
		cargo test --locked --test crowd -- --nocapture --test-threads=1 && \
		cargo test --locked --test deliver sleeps && \
		older=$$(tests/older) && GITOPS_HOOKS_TEST_OLDER=$$older cargo test --locked --test versions

# What speaks to a cluster, with the oldest Kubernetes; takes the test bed down, before and afterwards.
oldest: release
	tests/testbed/down
	GITOPS_HOOKS_TESTBED_KUBERNETES=oldest tests/testbed/up
	set -a; . "$(ENV)"; set +a; \
		GITOPS_HOOKS_RELEASE=$(CURDIR)/$(RELEASE) cargo test --locked \
			--test sync --test faults --test cluster --test promote --test delivered --test story -- --test-threads=2
	tests/testbed/down

# With the servers of the test bed, where it is up.
bench: release
	RUSTFLAGS="$(FLAGS)" cargo build --release --locked --target $(HOST) --features bench --bin bench-patch
	set -a; [ ! -r "$(ENV)" ] || . "$(ENV)"; set +a; tests/bench/run $(RELEASE)
	tests/bench/safety $(RELEASE)

testbed:
	tests/testbed/up

testbed-down:
	tests/testbed/down

release:
	GITOPS_HOOKS_COMMIT="$$(git log -1 --date=format:%Y-%m-%d --format='%h %cd' 2>/dev/null)" RUSTFLAGS="$(FLAGS)" \
		SOURCE_DATE_EPOCH=315532800 cargo rustc --release --locked --target $(HOST) --bin gitops-hooks -- -C relocation-model=static

# What is published of a version, in target/dist.
dist: release
	templates/package/build $(RELEASE)
