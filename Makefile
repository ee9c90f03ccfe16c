# SPDX-License-Identifier: GPL-2.0
#
# tagstorage: builds the modules, and is the front door to the lab. `make help`.

KERNELRELEASE ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KERNELRELEASE)/build

PROFILE ?= small
POLICY ?= cma
FILES ?=
T ?=
M ?=

kbuild = $(MAKE) -C $(KDIR) M=$(CURDIR)

.PHONY: all modules modules_install clean help demo test soak mutants shell run \
	patch-stat kernel-tree refresh-patch

all: modules

modules:
	@test -d $(KDIR) || { echo "No kernel to build against at $(KDIR): install the headers of $(KERNELRELEASE), or name a build directory with KDIR=" >&2; exit 1; }
	@grep -qs '^CONFIG_ARM64_MTE_TAG_STORAGE=y' $(KDIR)/.config $(KDIR)/include/config/auto.conf || { echo "The kernel at $(KDIR) was built without CONFIG_ARM64_MTE_TAG_STORAGE: apply core-hooks.patch to its source, enable that option, and build against the result" >&2; exit 1; }
	$(kbuild) modules

modules_install:
	$(kbuild) modules_install

clean:
	$(if $(wildcard $(KDIR)),$(kbuild) clean)

demo:
	./lab/demo

test:
	./lab/test $(T)

soak:
	TIER=full ./lab/test $(T)

mutants:
	./lab/mutants $(M)

shell:
	./lab/shell --profile $(PROFILE) --policy $(POLICY)

run:
	@test -n "$(value CMD)" || { echo "Say what to run: make run CMD='...' [PROFILE=] [POLICY=] [FILES=folder]" >&2; exit 2; }
	@./lab/run --profile $(PROFILE) --policy $(POLICY) $(if $(FILES),--files $(FILES)) -- "$$CMD"

export CMD

patch-stat:
	@./lab/patch stat

kernel-tree:
	@./lab/patch tree

refresh-patch:
	@./lab/patch refresh

help:
	@echo 'Building'
	@echo '  make                  build the modules for KDIR (ARCH and CROSS_COMPILE as usual)'
	@echo '  make modules_install  install them, and run depmod'
	@echo '  make clean            remove what was built here'
	@echo 'The lab (x86-64, Debian 12, as root; each sets up what it needs)'
	@echo '  make demo             tag storage lent, claimed and drained, step by step'
	@echo '  make test [T=group]   every test, or those of one group'
	@echo '  make soak [T=group]   the same at full length, and the tests that take hours'
	@echo '  make mutants [M=name] make deliberate faults, which the tests must notice: all, or some'
	@echo '  make shell            an interactive machine'
	@echo "  make run CMD='...'    run one command in a machine; its exit status is returned"
	@echo 'The patch'
	@echo '  make patch-stat       files and lines that core-hooks.patch touches'
	@echo '  make kernel-tree      a git tree with the patch applied, to edit'
	@echo '  make refresh-patch    write core-hooks.patch anew from that tree'
	@echo 'Variables'
	@echo '  KDIR=folder           the kernel to build against ($(KDIR))'
	@echo '  KERNELRELEASE=release another installed kernel'
	@echo '  PROFILE=name          machine of shell and run ($(PROFILE)); lab/run --help lists them'
	@echo '  POLICY=name           policy of shell and run ($(POLICY)); none: load no module'
	@echo '  FILES=folder          host files that run shows at /mnt/files'
	@echo "Example: make run POLICY=cma CMD='cat /sys/kernel/mm/tagstorage/policy'"
