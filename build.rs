//! Makes `include/minidb.h` from the doc comments in `src/ffi`, and has the
//! shared library linked as a library for many hosts should be.

use std::path::Path;
use std::{env, fs};

/// The files that the header is made from, in its order.
const SOURCES: [&str; 7] = ["code", "opaque", "view", "entry", "cursor", "store", "library"];
const CONFIG: &str = "src/ffi/cbindgen.toml";
const HEADER: &str = "include/minidb.h";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/ffi");
    println!("cargo::rerun-if-changed={HEADER}");

    let header = header();
    let out = Path::new(&variable("OUT_DIR")).join("minidb.h");
    fs::write(&out, &header).expect("OUT_DIR can be written");
    if is_checkout() && fs::read(HEADER).ok().as_ref() != Some(&header) {
        fs::write(HEADER, &header).expect("the header of a checkout can be written");
    }

    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        // It leaves a fork hook and thread-locals behind, so it must stay.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Whether the sources are being worked on. Those of a package, of a
/// dependency, or without the permission to write are left alone.
fn is_checkout() -> bool {
    let writable = |path| fs::metadata(path).is_ok_and(|it| !it.permissions().readonly());
    Path::new(".git").exists()
        && !Path::new(".cargo-ok").exists()
        && writable("include")
        && (writable(HEADER) || !Path::new(HEADER).exists())
}

fn header() -> Vec<u8> {
    let mut config = cbindgen::Config::from_file(CONFIG).expect("the configuration is valid");
    let mut text = config.after_includes.take().expect("the configuration has this part");
    for part in ["", "_MAJOR", "_MINOR", "_PATCH"] {
        text = text
            .replace(&format!("@VERSION{part}@"), &variable(&format!("CARGO_PKG_VERSION{part}")));
    }
    config.after_includes = Some(text);
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(format!("src/ffi/{source}.rs"));
    }
    let mut header = Vec::new();
    builder.generate().expect("cbindgen understands src/ffi").write(&mut header);
    header
}
