//! Builds the eBPF programs and hands their objects to `src/object.rs`.
//!
//! They are compiled by the same stable toolchain, for another target: `core` has to be built for
//! it, which is what `RUSTC_BOOTSTRAP=1` allows, in that one call of cargo and nowhere else.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const OBJECTS: [&str; 4] = [
    "landfall",
    "landfall-samples",
    "landfall-bench",
    "landfall-filter",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            for line in reason.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    for path in [
        "ebpf/src",
        "ebpf/Cargo.toml",
        "ebpf/Cargo.lock",
        "common/src",
        "common/Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    require_linker()?;
    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    let project = root.join("ebpf");
    // One directory for all profiles and for clippy: the programs are the same.
    let target_dir = project.join("target");
    compile(&project, &target_dir, target)?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    for object in OBJECTS {
        let built = target_dir.join(target).join("release").join(object);
        std::fs::copy(&built, out.join(object))
            .map_err(|error| format!("cannot copy {}: {error}", built.display()))?;
    }
    Ok(())
}

fn require_linker() -> Result<(), String> {
    let found = Command::new("bpf-linker")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match found {
        Ok(status) if status.success() => Ok(()),
        _ => Err(
            "bpf-linker is not on the PATH, and the XDP programs cannot be linked without it.\n\
             Run `make setup`, which installs it with the LLVM that this toolchain speaks."
                .to_owned(),
        ),
    }
}

fn compile(project: &Path, target_dir: &Path, target: &str) -> Result<(), String> {
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // 32-bit arithmetic and jumps: Linux 5.1.
        "-Ctarget-cpu=v3".to_owned(),
    ];
    // Addresses in a frame lie on odd boundaries; without this every read is byte by byte. The
    // verifier allows it where the machine does.
    if arch == "x86_64" || arch == "aarch64" {
        flags.push("-Ctarget-feature=+allows-misaligned-mem-access".to_owned());
    }
    let output = Command::new(variable("CARGO")?)
        .current_dir(project)
        .args([
            "build",
            "--locked",
            "--release",
            "--bins",
            "--target",
            target,
            "-Zbuild-std=core",
        ])
        .arg("--target-dir")
        .arg(target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTFLAGS")
        // Clippy and the like: they would check what is to be built.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .map_err(|error| format!("cannot run cargo for the eBPF programs: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "building the eBPF programs in {} failed:\n{}",
        project.display(),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn variable(name: &str) -> Result<String, String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
