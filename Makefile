# SPDX-License-Identifier: BSD-2-Clause
# The few commands that everybody needs; Meson and Ninja do the work underneath.

BUILD ?= build
MESON ?= meson
NINJA ?= ninja

all: $(BUILD)/build.ninja
	@$(NINJA) -C $(BUILD) product

$(BUILD)/build.ninja:
	@command -v $(MESON) >/dev/null || \
		{ echo "make: meson is not installed: run tools/install-deps build" >&2; exit 1; }
	$(MESON) setup $(BUILD)

# Installs what is missing, builds, and shows the main job. KEEP=1 keeps serving.
run:
	@tools/install-deps build
	@$(MAKE) --no-print-directory all
	@$(BUILD)/weft demo $(if $(KEEP),--keep)

# Installs what is missing, builds and runs every test. STAGES="unit tidy" picks some.
test:
	@tools/install-deps build test
	@tools/test $(STAGES)

# The long versions of the tests that have one.
soak:
	@tools/install-deps build test
	@tools/test --soak $(STAGES)

# FUZZ=grammar picks a target, SECONDS=60 the time for each.
fuzz:
	@tools/install-deps build test
	@tools/test --fuzz-seconds $(or $(SECONDS),600) $(if $(FUZZ),--fuzz-target $(FUZZ)) fuzz

bench:
	@tools/install-deps build bench
	@$(MAKE) --no-print-directory all
	@bench/run

# The engine for the fio that is installed: docs/fio.md
fio-engine: all
	@integrations/fio/build $(BUILD)

install: all
	$(MESON) install --no-rebuild -C $(BUILD)

# The commands' manual pages, anew from their tables.
COMMANDS := bench check-contract copy ctl demo explain info list serve top
manual: all
	@$(BUILD)/weft help --man >docs/man/weft.1
	@for c in $(COMMANDS); do $(BUILD)/weft help --man $$c >docs/man/weft-$$c.1 || exit; done

clean:
	rm -rf build build-*

.PHONY: all run test soak fuzz bench fio-engine install manual clean
