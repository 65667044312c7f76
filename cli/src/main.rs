//! `berth`.

fn main() -> std::process::ExitCode {
    berth_cli::run(std::env::args_os())
}
