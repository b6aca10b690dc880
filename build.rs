//! Has the shared library linked as a library for many hosts should be, and the static one
//! for musl brings its unwinder. With the feature `headers` it makes the headers for C anew,
//! from the doc comments in `src/ffi`.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "headers")]
    headers::make();
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        // It leaves a fork hook and thread-locals behind, so it must stay.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    if let Some(folder) = unwinder() {
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-link-lib=static=unwind");
    }
}

/// The folder of the unwinder that rustc has for static programs with musl. Compilers for C
/// have none that fits: `musl-gcc` takes that of glibc.
fn unwinder() -> Option<PathBuf> {
    if variable("CARGO_CFG_TARGET_ENV") != "musl" {
        return None;
    }
    // Cargo does not say whether libc is linked statically.
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--print=target-libdir", "--print=cfg", "--target", &variable("TARGET")]);
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\x1f').filter(|it| !it.is_empty()));
    let said = String::from_utf8(rustc.output().ok()?.stdout).ok()?;
    let (libraries, config) = said.split_once('\n')?;
    let folder = PathBuf::from(libraries).join("self-contained");
    let is_static = config.contains("target_feature=\"crt-static\"");
    (is_static && folder.join("libunwind.a").exists()).then_some(folder)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[cfg(feature = "headers")]
mod headers {
    use std::fs;
    use std::path::Path;

    use super::variable;

    /// The files that the headers are made from, in their order.
    const SOURCES: [&str; 7] = ["code", "opaque", "view", "entry", "cursor", "store", "library"];
    const CONFIG: &str = "src/ffi/cbindgen.toml";

    pub fn make() {
        println!("cargo::rerun-if-changed=src/ffi");
        let header = header();
        let flat = flat(&header);
        for (name, text) in [("minidb.h", header), ("minidb_ffi.h", flat)] {
            let committed = Path::new("include").join(name);
            println!("cargo::rerun-if-changed={}", committed.display());
            let out = Path::new(&variable("OUT_DIR")).join(name);
            fs::write(out, &text).expect("OUT_DIR can be written");
            if is_checkout(&committed) && fs::read(&committed).ok() != Some(text.clone().into()) {
                fs::write(&committed, &text).expect("the header of a checkout can be written");
            }
        }
    }

    /// Whether the sources are being worked on. Those of a package, of a dependency, or
    /// without the permission to write are left alone.
    fn is_checkout(header: &Path) -> bool {
        let writable = |path| fs::metadata(path).is_ok_and(|it| !it.permissions().readonly());
        Path::new(".git").exists()
            && !Path::new(".cargo-ok").exists()
            && writable(Path::new("include"))
            && (writable(header) || !header.exists())
    }

    fn header() -> String {
        let mut config = cbindgen::Config::from_file(CONFIG).expect("the configuration is valid");
        let mut text = config.after_includes.take().expect("the configuration has this part");
        for part in ["", "_MAJOR", "_MINOR", "_PATCH"] {
            let version = variable(&format!("CARGO_PKG_VERSION{part}"));
            text = text.replace(&format!("@VERSION{part}@"), &version);
        }
        config.after_includes = Some(text);
        let mut builder = cbindgen::Builder::new().with_config(config);
        for source in SOURCES {
            builder = builder.with_src(format!("src/ffi/{source}.rs"));
        }
        let mut header = Vec::new();
        builder.generate().expect("cbindgen understands src/ffi").write(&mut header);
        String::from_utf8(header).expect("the header is text")
    }

    /// The functions whose result is lent and may have a NUL within.
    const LENT: [&str; 2] = ["minidb_cursor_key(", "minidb_cursor_value("];

    /// The header for parsers that know no preprocessor: constants in an enum, then each
    /// declaration on a line. What is lent is `const void *` there, since some of their
    /// languages cut a `const char *` at its first NUL.
    fn flat(header: &str) -> String {
        let code = header.split("*/").filter_map(|part| part.split("/*").next());
        let code: String = code.collect();
        let (mut constants, mut rest) = (Vec::new(), String::new());
        for line in code.lines() {
            let Some(directive) = line.strip_prefix('#') else {
                rest.push_str(line.replace("MINIDB_API", "").trim());
                rest.push(' ');
                continue;
            };
            let words: Vec<_> = directive.split_whitespace().collect();
            if let ["define", name, number] = words[..]
                && let Ok(number) = number.parse::<i32>()
            {
                constants.push(format!("    {name} = {number}"));
            }
        }
        let rest = rest.replace("extern \"C\" {", "").replace('}', "");
        let mut text = format!("enum {{\n{}\n}};\n", constants.join(",\n"));
        for declaration in rest.split_inclusive(';') {
            let words: Vec<_> = declaration.split_whitespace().collect();
            let mut line = words.join(" ");
            if line.starts_with("typedef int (*") || LENT.iter().any(|it| line.contains(it)) {
                line = line.replace("const char *", "const void *");
            }
            if !line.is_empty() {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }
}
