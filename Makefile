# make demo | test | test-quick | lint | runtime | edgecomp-run | static | clean
# Every target that runs Python first makes .venv and installs edgecomp into it.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
CSRC := $(wildcard runtime_ops/csrc/* runtime_ops/csrc/*/* edgecomp/encode/csrc/*)

CC ?= cc
AR ?= ar
# No contraction to fused multiply-add: results are specified operation by operation.
CFLAGS := -std=c99 -O3 -pthread -ffp-contract=off -fPIC -fvisibility=hidden -Wall -Wextra -Iruntime_ops/csrc $(TARGET_FLAGS)
# A folder for each machine that is compiled for, such as build/x86_64-linux-gnu.
BUILD ?= build/$(shell $(CC) -dumpmachine)
RUNTIME_SOURCES := $(filter-out %_main.c,$(wildcard runtime_ops/csrc/*/*.c))
RUNTIME_HEADERS := $(wildcard $(foreach end,*.h */*.h */*.inc */*/*.h,runtime_ops/csrc/$(end)))
RUNTIME_OBJECTS := $(patsubst runtime_ops/csrc/%.c,$(BUILD)/runtime/%.o,$(RUNTIME_SOURCES))

RUN_SOURCES := $(wildcard runtime_ops/csrc/programs/run/*.c)
RUN_OBJECTS := $(patsubst runtime_ops/csrc/%.c,$(BUILD)/runtime/%.o,$(RUN_SOURCES))

# Compiler of the static programs, and the machines they are for. aarch64-linux-musl is Android's, too.
ZIG ?= $(BIN)/python -m ziglang
STATIC_NEEDS := $(if $(findstring $(BIN),$(ZIG)),$(INSTALLED))
STATIC := x86_64-linux-musl aarch64-linux-musl arm-linux-musleabihf

.PHONY: demo test test-quick lint runtime edgecomp-run static clean

demo: $(INSTALLED)
	$(BIN)/edgecomp demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-quick: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q -m "not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

# Installed once; again when the dependencies, the C sources or their build change.
$(INSTALLED): pyproject.toml runtime_ops/build_native.py $(CSRC)
	@echo "installing edgecomp and what it needs into .venv (minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[compress,test]'
	@touch $@

runtime: $(BUILD)/libedgecomp.a $(BUILD)/libedgecomp.so

$(BUILD)/libedgecomp.a: $(RUNTIME_OBJECTS)
	rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libedgecomp.so: $(RUNTIME_OBJECTS)
	$(CC) -shared -pthread -o $@ $^ -lm

$(BUILD)/runtime/%.o: runtime_ops/csrc/%.c $(RUNTIME_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<

edgecomp-run: $(BUILD)/edgecomp-run

$(BUILD)/edgecomp-run: $(RUN_OBJECTS) $(BUILD)/libedgecomp.a
	$(CC) -pthread $(LINK_FLAGS) -o $@ $^ -lm

static: $(INSTALLED) $(STATIC:%=build/static/%/edgecomp-run)

# Without this zig compiles checks for undefined behaviour in; ARMv7 without NEON is not worth a program.
STATIC_FLAGS := -DNDEBUG -fno-sanitize=undefined
build/static/arm-linux-musleabihf/edgecomp-run: STATIC_FLAGS += -mcpu=generic+v7a+neon

# Android 15 wants pages of 16 KiB.
build/static/%/edgecomp-run: $(RUN_SOURCES) $(RUNTIME_SOURCES) $(RUNTIME_HEADERS) | $(STATIC_NEEDS)
	ZIG_LOCAL_CACHE_DIR=$(CURDIR)/build/zig $(MAKE) edgecomp-run BUILD=build/static/$* \
		CC='$(ZIG) cc -target $*' AR='$(ZIG) ar' TARGET_FLAGS='$(STATIC_FLAGS)' \
		LINK_FLAGS='-static -s -Wl,-z,max-page-size=16384 $(STATIC_FLAGS)'

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f runtime_ops/_native*.so edgecomp/encode/_encoder*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
