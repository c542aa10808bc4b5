//! The lab's kubelet and CNI in one process; see `landfall_e2e::kubelet`.

fn main() -> std::process::ExitCode {
    landfall_e2e::kubelet::main()
}
