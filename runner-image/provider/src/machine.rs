//! The machine on which this code runs, in the words of Go, which templates and provider packages use.

/// Its operating system.
pub(crate) fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    }
}

/// Its architecture; a 32-bit ARM is just `arm` in the names of packages.
pub(crate) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        arch => arch,
    }
}
