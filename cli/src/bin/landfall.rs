//! `landfall`.

fn main() -> std::process::ExitCode {
    landfall_cli::main()
}
