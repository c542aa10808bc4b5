//! The images, built by the Dockerfile that users build with, unpacked and run: nothing in them is taken on trust.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use landfall_testbed::control_plane::assets::source_tree;
use landfall_testbed::process::run;
use serde_json::Value;

const CONTROLLER: &str = "landfall-controller";
const ANNOUNCER: &str = "landfall-announcer";
const PROBE: &str = "landfall-probe";
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";

/// An image, unpacked.
struct Image {
    _dir: tempfile::TempDir,
    root: PathBuf,
    config: Value,
}

impl Image {
    /// Unpacks one of the images of this build, or says why there is none.
    fn of(program: &str, test: &str) -> Option<Self> {
        let archive = archives(test)?.join(format!("{program}.tar"));
        let dir = tempfile::tempdir().unwrap();
        let (parts, root) = (dir.path().join("parts"), dir.path().join("root"));
        unpack(&archive, &parts);
        let read = |name: &str| -> Value {
            serde_json::from_slice(&fs::read(parts.join(name)).unwrap()).unwrap()
        };
        let manifest = read("manifest.json");
        for layer in manifest[0]["Layers"].as_array().unwrap() {
            unpack(&parts.join(layer.as_str().unwrap()), &root);
        }
        let config = read(manifest[0]["Config"].as_str().unwrap())["config"].clone();
        Some(Self {
            _dir: dir,
            root,
            config,
        })
    }

    /// Its program, with nothing but the image to live on, under the environment that the image gives it.
    fn program(&self) -> Command {
        let mut command = Command::new("chroot");
        let path = std::env::var_os("PATH").unwrap();
        command.env_clear().env("PATH", path).arg(&self.root);
        for variable in self.config["Env"].as_array().unwrap() {
            let (name, value) = variable.as_str().unwrap().split_once('=').unwrap();
            if name != "PATH" {
                command.env(name, value);
            }
        }
        command.arg(self.config["Entrypoint"][0].as_str().unwrap());
        command
    }
}

/// The directory of the images, built once for all tests of this file.
fn archives(test: &str) -> Option<&'static Path> {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let programs = Path::new(env!("CARGO_BIN_EXE_lab")).parent().unwrap();
    let obstacle = if !nix::unistd::geteuid().is_root() {
        Some("root")
    } else if landfall_testbed::missing(&["buildah", "debootstrap", "strip", "jq"]).is_some() {
        Some("buildah, debootstrap, binutils, jq: hack/setup.sh lab")
    } else if ![CONTROLLER, ANNOUNCER, PROBE]
        .iter()
        .all(|name| programs.join(name).is_file())
    {
        Some("cargo build --workspace --bins")
    } else {
        None
    };
    if let Some(needs) = obstacle {
        landfall_testbed::skipped(test, needs);
        return None;
    }
    let (_, out) = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("images");
        run(Command::new(source_tree().join("hack/images.sh"))
            .args(["--with", "buildah", "--programs"])
            .arg(programs)
            .arg("--out")
            .arg(&out))
        .unwrap();
        (dir, out)
    });
    Some(out)
}

fn unpack(archive: &Path, into: &Path) {
    fs::create_dir_all(into).unwrap();
    run(Command::new("tar")
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(into))
    .unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn each_program_runs_in_its_image() {
    for program in [CONTROLLER, ANNOUNCER, PROBE] {
        let Some(image) = Image::of(program, "each_program_runs_in_its_image") else {
            return;
        };
        let said = run(image.program().arg("--version")).unwrap();
        assert_eq!(
            said.trim(),
            format!("{program} {}", env!("CARGO_PKG_VERSION"))
        );
    }
}

#[test]
fn an_image_holds_one_program_and_what_it_needs() {
    let Some(image) = Image::of(ANNOUNCER, "an_image_holds_one_program_and_what_it_needs") else {
        return;
    };
    let root = &image.root;
    let known = ["etc", "lib", "lib64", "tmp", "usr", "var"];
    assert!(
        names(root)
            .iter()
            .all(|name| known.contains(&name.as_str())),
        "{:?}",
        names(root)
    );
    assert_eq!(names(&root.join("usr/local/bin")), [ANNOUNCER]);
    assert!(!root.join("usr/bin").exists() && !root.join("bin").exists());
    for package in ["libc6", "libgcc-s1", "ca-certificates"] {
        let record = fs::read_to_string(root.join("var/lib/dpkg/status.d").join(package)).unwrap();
        assert!(record.contains("\nVersion: "), "{record}");
        assert!(
            root.join("usr/share/doc")
                .join(package)
                .join("copyright")
                .is_file()
        );
    }
}

#[test]
fn an_image_says_what_it_is_and_runs_as_nobody_where_it_can() {
    let test = "an_image_says_what_it_is_and_runs_as_nobody_where_it_can";
    for (program, user) in [
        (CONTROLLER, "65532:65532"),
        (ANNOUNCER, "0:0"),
        (PROBE, "65532:65532"),
    ] {
        let Some(image) = Image::of(program, test) else {
            return;
        };
        assert_eq!(image.config["User"], user);
        let label = |name: &str| {
            let labels = &image.config["Labels"];
            labels[format!("org.opencontainers.image.{name}")]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(label("title"), program);
        assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(label("licenses"), "Apache-2.0");
        assert!(!label("revision").is_empty() && !label("description").is_empty());
    }
}

/// A cluster whose certificate is to be known by the world's authorities, as that of a hosted API server is.
const KUBECONFIG: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "x",
    "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "x", "user": {"token": "x"}}],
    "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]}"#;

/// What a controller that is told to talk to that cluster says, until it has said one of these or has ended.
fn says_of(image: &Image, awaited: &[&str]) -> String {
    let log = image.root.join("../log");
    fs::write(image.root.join("tmp/kubeconfig"), KUBECONFIG).unwrap();
    let out = fs::File::create(&log).unwrap();
    let mut controller = image
        .program()
        .env("KUBECONFIG", "/tmp/kubeconfig")
        .env("POD_NAME", "test")
        .env("POD_NAMESPACE", "test")
        .args([
            "--admin-address=127.0.0.1:0",
            "--metrics-address=127.0.0.1:0",
        ])
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let ended = controller.try_wait().unwrap().is_some();
        let said = fs::read_to_string(&log).unwrap();
        if ended || awaited.iter().any(|words| said.contains(words)) {
            let _ = controller.kill();
            controller.wait().unwrap();
            return said;
        }
        if Instant::now() >= until {
            let _ = controller.kill();
            controller.wait().unwrap();
            panic!("none of {awaited:?} in: {said}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_authorities_are_in_the_image_and_without_them_a_public_certificate_is_nobodys() {
    let test = "the_authorities_are_in_the_image_and_without_them_a_public_certificate_is_nobodys";
    let Some(image) = Image::of(CONTROLLER, test) else {
        return;
    };
    let text = fs::read_to_string(image.root.join(CERTIFICATES)).unwrap();
    assert!(text.matches("BEGIN CERTIFICATE").count() > 50);

    let awaited = ["the watch is tried again", "No CA certificates"];
    let with = says_of(&image, &awaited);
    assert!(
        with.contains(awaited[0]) && !with.contains(awaited[1]),
        "{with}"
    );

    fs::remove_file(image.root.join(CERTIFICATES)).unwrap();
    let without = says_of(&image, &awaited);
    assert!(without.contains(awaited[1]), "{without}");
}

#[test]
fn what_a_program_is_made_of_is_written_beside_its_image() {
    let Some(out) = archives("what_a_program_is_made_of_is_written_beside_its_image") else {
        return;
    };
    for (program, crate_in_it) in [
        (CONTROLLER, "pkg:cargo/kube@"),
        (ANNOUNCER, "pkg:cargo/aya@"),
        (PROBE, "pkg:cargo/smoltcp@"),
    ] {
        let text = fs::read(out.join(format!("{program}.cdx.json"))).unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["bomFormat"], "CycloneDX");
        assert_eq!(document["metadata"]["component"]["name"], program);
        let components = document["components"].as_array().unwrap();
        let has = |prefix: &str| {
            components
                .iter()
                .any(|component| component["purl"].as_str().unwrap().starts_with(prefix))
        };
        assert!(has(crate_in_it) && !has("pkg:cargo/proptest@"));
    }
}
