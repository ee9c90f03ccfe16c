# SPDX-License-Identifier: GPL-2.0
#
# tagstorage: builds the modules, and is the front door to the lab. `make help`.

KERNELRELEASE ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KERNELRELEASE)/build

# Where to install: below DESTDIR, which may be a board's root file system or a package's
DESTDIR ?=
PREFIX ?= /usr/local
INSTALL_MOD_PATH ?= $(DESTDIR)
DEPMOD ?= $(or $(shell command -v depmod),/sbin/depmod)
INSTALL_HDR_PATH ?= $(DESTDIR)$(PREFIX)/include

PROFILE ?= small
POLICY ?= cma
FILES ?=
T ?=
M ?=

kbuild = $(MAKE) -C $(KDIR) M=$(CURDIR)

# dkms.conf is the one place where the version stands, Kbuild that of the modules' names.
version = $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
module_names = $(shell sed -n 's/^obj-m += \(.*\)\.o$$/\1/p' Kbuild)
# The release that KDIR was built for; headers may be gone when the modules are removed.
release = $(or $(shell cat $(KDIR)/include/config/kernel.release 2>/dev/null),$(KERNELRELEASE))
modules_folder = $(INSTALL_MOD_PATH)/lib/modules/$(release)
run_depmod = $(if $(DEPMOD),$(DEPMOD) $(addprefix -e -F ,$(wildcard $(KDIR)/System.map)) -b "$(INSTALL_MOD_PATH)/" $(release))

sbindir = $(DESTDIR)$(PREFIX)/sbin
docdir = $(DESTDIR)$(PREFIX)/share/doc/tagstorage
tools = $(notdir $(wildcard scripts/*.bt))
# What building leaves, as find wants it
built = $(patsubst %,-name '%' -o,*.o *.ko *.mod *.mod.c .*.cmd modules.order) -name Module.symvers
programs = $(basename $(notdir $(wildcard scripts/load.sh scripts/check-dt.sh)))

.PHONY: all modules modules_install install install-tools uninstall uninstall-tools sign deb \
	headers_install clean help demo test soak mutants bench compare shell run patch-stat kernel-tree refresh-patch

all: modules

modules:
	@test -d $(KDIR) || { echo "No kernel to build against at $(KDIR): install the headers of $(KERNELRELEASE), or name a build directory with KDIR=" >&2; exit 1; }
	@grep -qs '^CONFIG_ARM64_MTE_TAG_STORAGE=y' $(KDIR)/.config $(KDIR)/include/config/auto.conf || { echo "The kernel at $(KDIR) was built without CONFIG_ARM64_MTE_TAG_STORAGE: apply core-hooks.patch to its source, enable that option, and build against the result" >&2; exit 1; }
	$(kbuild) modules

# Headers often lack System.map, and kbuild runs no depmod then.
modules_install:
	$(kbuild) INSTALL_MOD_PATH="$(INSTALL_MOD_PATH)" DEPMOD=true modules_install
	$(run_depmod)

install: modules_install install-tools

install-tools:
	install -d "$(sbindir)" "$(docdir)/docs" "$(docdir)/examples/modprobe.d" "$(docdir)/examples/modules-load.d"
	for name in $(programs); do install -m 755 scripts/$$name.sh "$(sbindir)/tagstorage-$$name" || exit; done
	install -m 755 $(tools:%=scripts/%) "$(sbindir)"
	install -m 644 README.md "$(docdir)"
	install -m 644 docs/*.md "$(docdir)/docs"
	install -m 644 scripts/examples/modprobe.d/tagstorage.conf "$(docdir)/examples/modprobe.d"
	install -m 644 scripts/examples/modules-load.d/tagstorage.conf "$(docdir)/examples/modules-load.d"

uninstall: uninstall-tools
	rm -f $(foreach name,$(module_names),"$(modules_folder)/updates/$(name).ko"*)
	$(if $(wildcard $(modules_folder)),-rmdir --ignore-fail-on-non-empty "$(modules_folder)/updates")
	$(if $(wildcard $(modules_folder)),$(run_depmod))
	@echo 'Left alone: what DKMS installed (dkms remove tagstorage/$(version) --all), and /etc/modprobe.d and /etc/modules-load.d'

uninstall-tools:
	rm -f $(programs:%="$(sbindir)/tagstorage-%") $(tools:%="$(sbindir)/%")
	rm -rf "$(docdir)" "$(INSTALL_HDR_PATH)/tagstorage"

sign:
	./scripts/sign.sh $(KDIR) $(module_names:%=%.ko)

deb:
	@./scripts/deb.sh

# What a policy outside this tree is built with.
headers_install:
	install -d "$(INSTALL_HDR_PATH)/tagstorage"
	install -m 644 tagstorage_mod/tagstorage.h tagstorage_mod/geometry.h \
		tagstorage_mod/policies/pageblocks.h Module.symvers "$(INSTALL_HDR_PATH)/tagstorage"

# The kernel's own make does it, if there is one.
clean:
	$(if $(wildcard $(KDIR)),$(kbuild) clean,find . -name .git -prune -o -type f \( $(built) \) -exec rm {} +)

# What this make is told is not for those that the lab runs: to the kernel's, M is a folder of modules.
lab = env -u MAKEFLAGS -u MFLAGS ./lab

demo:
	$(lab)/demo

test:
	$(lab)/test $(T)

soak:
	TIER=full $(lab)/test $(T)

mutants:
	$(lab)/mutants $(M)

bench:
	$(lab)/bench

compare:
	$(lab)/compare

shell:
	$(lab)/shell --profile $(PROFILE) --policy $(POLICY)

run:
	@test -n "$$CMD" || { echo "Say what to run: make run CMD='...' [PROFILE=] [POLICY=] [FILES=folder]" >&2; exit 2; }
	@$(lab)/run --profile $(PROFILE) --policy $(POLICY) $(if $(FILES),--files "$(FILES)") -- "$$CMD"

# Word for word as it was given: it is a script for the machine, and neither make nor the shell here may look into it.
override CMD := $(value CMD)
export CMD

patch-stat:
	@$(lab)/patch stat

kernel-tree:
	@$(lab)/patch tree

refresh-patch:
	@$(lab)/patch refresh

help:
	@echo 'Building'
	@echo '  make                  build the modules for KDIR (ARCH and CROSS_COMPILE as usual)'
	@echo '  make sign             sign them with the key of DKMS, or with KEY= and CERT='
	@echo '  make headers_install  after make: headers and symbols for policies of your own, to INSTALL_HDR_PATH'
	@echo '  make clean            remove what was built here'
	@echo 'Installing'
	@echo '  make modules_install  install the modules, and run depmod'
	@echo '  make install          the same, and the scripts'
	@echo '  make uninstall        remove all of that'
	@echo '  make deb              Debian packages tagstorage-dkms and tagstorage-tools'
	@echo 'The lab (x86-64, Debian 12, as root; each sets up what it needs)'
	@echo '  make demo             tag storage lent, claimed and drained, step by step'
	@echo '  make test [T=group]   every test, or those of one group'
	@echo '  make soak [T=group]   the same at full length, and the tests that take hours'
	@echo '  make mutants [M=name] make deliberate faults, which the tests must notice: all, or some'
	@echo '  make bench            what lending costs and gains, in figures and pictures, against the bounds set for them'
	@echo '  make compare          the policies side by side: what each lends, what it costs, how it bears the same load'
	@echo '  make shell            an interactive machine'
	@echo "  make run CMD='...'    run one command in a machine; fails if that fails (lab/run returns its exit status)"
	@echo 'The patch'
	@echo '  make patch-stat       files and lines that core-hooks.patch touches'
	@echo '  make kernel-tree      a git tree with the patch applied, to edit'
	@echo '  make refresh-patch    write core-hooks.patch anew from that tree'
	@echo 'Variables'
	@echo '  KDIR=folder           the kernel to build against ($(KDIR))'
	@echo '  KERNELRELEASE=release another installed kernel'
	@echo '  DESTDIR=folder        install below this folder instead of /'
	@echo '  PREFIX=folder         of the scripts ($(PREFIX))'
	@echo '  DEPMOD=               run no depmod, as for a package'
	@echo '  OUT=folder            of the Debian packages (beside this one)'
	@echo '  INSTALL_HDR_PATH=folder  of headers_install ($(INSTALL_HDR_PATH))'
	@echo '  PROFILE=name          machine of shell and run ($(PROFILE)); lab/run --help lists them'
	@echo '  POLICY=name           policy of shell and run ($(POLICY)); none: load no module'
	@echo '  FILES=folder          host files that run shows at /mnt/files'
	@echo "Example: make run POLICY=cma CMD='cat /sys/kernel/mm/tagstorage/policy'"
