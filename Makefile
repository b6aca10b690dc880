# Builds minidb as a C library, and its tool, and installs them; the rest is cargo's.
#
#   make                 builds both libraries and the tool
#   make install         installs them, the headers, the manual pages, completions for
#                        shells, and what pkg-config and CMake read
#   make install-strip   does so without debugging symbols
#   make uninstall       removes exactly what was installed
#
# PREFIX, LIBDIR, INCLUDEDIR, BINDIR, SHAREDIR and DESTDIR are honoured, and must be the same for install
# and uninstall; so are CARGO and CARGO_TARGET_DIR. TARGET is the name that rustc has for
# another system; CC, and STRIP for install-strip, are then the tools for that system, and
# RUNNER runs its programs. It takes GNU make and an ELF system. There is no tool where there
# is no folder of that name: a package of the library alone has none.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
SHAREDIR ?= $(PREFIX)/share
CARGO ?= cargo
CARGO_TARGET_DIR ?= target
INSTALL ?= install
STRIP ?= strip
TARGET ?=
RUNNER ?=

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME := libminidb.so.$(firstword $(subst ., ,$(VERSION)))

MUSL := $(findstring -musl,$(or $(TARGET),$(shell rustc -vV | sed -n 's/^host: //p')))

# Not cargo's own folder: a library there is found under its plain name.
BUILT := $(CARGO_TARGET_DIR)/install/$(if $(TARGET),$(TARGET)/)release
BUILD := $(CARGO) rustc --release --lib --target-dir $(CARGO_TARGET_DIR)/install $(if $(TARGET),--target $(TARGET))

# The tool has a folder of its own: its library is built otherwise. For musl, rustc brings what
# a program is linked with, which a compiler for C may have of another version.
TOOL := $(if $(wildcard tool/Cargo.toml),$(CARGO_TARGET_DIR)/install-tool/$(if $(TARGET),$(TARGET)/)release/minidb)
LINKER := CARGO_TARGET_$(shell echo '$(TARGET)' | tr a-z- A-Z_)_LINKER

HEADERS := minidb.h minidb.hpp minidb_ffi.h
LIB := $(DESTDIR)$(LIBDIR)
INC := $(DESTDIR)$(INCLUDEDIR)
BIN := $(DESTDIR)$(BINDIR)
SHARE := $(DESTDIR)$(SHAREDIR)
BASH := $(SHARE)/bash-completion/completions
ZSH := $(SHARE)/zsh/site-functions
FISH := $(SHARE)/fish/vendor_completions.d
INSTALLED := $(addprefix $(INC)/,$(HEADERS)) \
  $(LIB)/libminidb.so.$(VERSION) $(LIB)/$(SONAME) $(LIB)/libminidb.so $(LIB)/libminidb.a \
  $(LIB)/pkgconfig/minidb.pc \
  $(LIB)/cmake/minidb/minidb-config.cmake $(LIB)/cmake/minidb/minidb-config-version.cmake \
  $(SHARE)/man/man3/minidb.3
ifneq ($(TOOL),)
INSTALLED += $(BIN)/minidb $(SHARE)/man/man1/minidb.1 $(BASH)/minidb $(ZSH)/_minidb $(FISH)/minidb.fish
endif

ifneq ($(words $(LIB) $(INC) $(BIN) $(SHARE)),4)
$(error the folders cannot have spaces)
endif

# Paths below PREFIX are written from where the file is that names them, so that the
# whole of PREFIX can be moved.
below = $(if $(filter $(PREFIX)/%,$(1)),$(patsubst $(PREFIX)/%,%,$(1)))
dots = $(subst $(eval) ,/,$(patsubst %,..,$(subst /, ,$(1))))
PC_PREFIX := $(if $(call below,$(LIBDIR)),$${pcfiledir}/$(call dots,$(call below,$(LIBDIR))/pkgconfig),$(PREFIX))
PC_LIBDIR := $(if $(call below,$(LIBDIR)),$${prefix}/$(call below,$(LIBDIR)),$(LIBDIR))
PC_INCLUDEDIR := $(if $(call below,$(INCLUDEDIR)),$${prefix}/$(call below,$(INCLUDEDIR)),$(INCLUDEDIR))
CMAKE_INCLUDEDIR := $(if $(and $(call below,$(LIBDIR)),$(call below,$(INCLUDEDIR))),$${CMAKE_CURRENT_LIST_DIR}/$(call dots,$(call below,$(LIBDIR))/cmake/minidb)/$(call below,$(INCLUDEDIR)),$(INCLUDEDIR))
FILL = sed -e 's|@VERSION@|$(VERSION)|' -e 's|@PREFIX@|$(PC_PREFIX)|' -e 's|@LIBDIR@|$(PC_LIBDIR)|' \
  -e 's|@INCLUDEDIR@|$(PC_INCLUDEDIR)|' -e 's|@CMAKE_INCLUDEDIR@|$(CMAKE_INCLUDEDIR)|' -e 's|@SONAME@|$(SONAME)|'

.PHONY: all install install-strip uninstall

all:
	$(BUILD) --crate-type staticlib
ifneq ($(MUSL),)
# From the static library, with the unwinder that is in it: rustc makes no shared one where
# it links libc statically.
	printf '{ global: minidb_*; local: *; };\n' >'$(BUILT)/libminidb.map'
	$(CC) -shared -o '$(BUILT)/libminidb.so' -Wl,--whole-archive '$(BUILT)/libminidb.a' -Wl,--no-whole-archive \
	  -Wl,--gc-sections,-O1,-soname,$(SONAME),--version-script='$(BUILT)/libminidb.map',-z,nodelete,-z,relro,-z,now
else
	$(BUILD) --crate-type cdylib -- -C link-arg=-Wl,-soname,$(SONAME) $(if $(TARGET),-C linker=$(CC))
endif
ifneq ($(TOOL),)
	$(if $(TARGET),$(if $(MUSL),,$(LINKER)=$(CC))) $(CARGO) build --release --package minidb-tool \
	  --target-dir $(CARGO_TARGET_DIR)/install-tool $(if $(TARGET),--target $(TARGET))
endif

install: all
	$(INSTALL) -d '$(INC)' '$(LIB)/pkgconfig' '$(LIB)/cmake/minidb'
	$(INSTALL) -m 644 $(addprefix include/,$(HEADERS)) '$(INC)'
	$(INSTALL) -m 644 '$(BUILT)/libminidb.a' '$(LIB)'
	$(INSTALL) -m 755 '$(BUILT)/libminidb.so' '$(LIB)/libminidb.so.$(VERSION)'
	ln -sf libminidb.so.$(VERSION) '$(LIB)/$(SONAME)'
	ln -sf $(SONAME) '$(LIB)/libminidb.so'
	$(FILL) packaging/minidb.pc.in >'$(LIB)/pkgconfig/minidb.pc'
	$(FILL) packaging/minidb-config.cmake.in >'$(LIB)/cmake/minidb/minidb-config.cmake'
	$(FILL) packaging/minidb-config-version.cmake.in >'$(LIB)/cmake/minidb/minidb-config-version.cmake'
	chmod 644 '$(LIB)/pkgconfig/minidb.pc' '$(LIB)/cmake/minidb/'*.cmake
	$(INSTALL) -d '$(SHARE)/man/man3'
	awk -v version=$(VERSION) -f packaging/minidb.3.awk include/minidb.h >'$(SHARE)/man/man3/minidb.3'
	chmod 644 '$(SHARE)/man/man3/minidb.3'
ifneq ($(TOOL),)
	$(INSTALL) -d '$(BIN)' '$(SHARE)/man/man1' '$(BASH)' '$(ZSH)' '$(FISH)'
	$(INSTALL) -m 755 '$(TOOL)' '$(BIN)/minidb'
	$(RUNNER) '$(TOOL)' man >'$(SHARE)/man/man1/minidb.1'
	$(RUNNER) '$(TOOL)' completions bash >'$(BASH)/minidb'
	$(RUNNER) '$(TOOL)' completions zsh >'$(ZSH)/_minidb'
	$(RUNNER) '$(TOOL)' completions fish >'$(FISH)/minidb.fish'
	chmod 644 '$(SHARE)/man/man1/minidb.1' '$(BASH)/minidb' '$(ZSH)/_minidb' '$(FISH)/minidb.fish'
endif
	@if [ -n '$(DESTDIR)' ]; then :; elif [ "$$(id -u)" = 0 ]; then ldconfig || /sbin/ldconfig; \
	else echo 'For programs to find the library, run ldconfig as root, or set LD_LIBRARY_PATH to $(LIBDIR).'; fi

install-strip: install
	$(STRIP) --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd '$(LIB)/libminidb.a'
	$(STRIP) --strip-all $(if $(TOOL),'$(BIN)/minidb') '$(LIB)/libminidb.so.$(VERSION)'

uninstall:
	rm -f $(foreach file,$(INSTALLED),'$(file)')
	-rmdir '$(LIB)/cmake/minidb' 2>/dev/null
