//! The Helm chart beside the manifests it is made from, rendered by Helm itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use landfall_testbed::control_plane::assets;
use serde_json::{Value, json};

/// Where Helm is; `None`, said loudly, where it is not to be had.
fn helm(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("LANDFALL_HELM").map(PathBuf::from);
    if found.is_none() {
        landfall_testbed::skipped(test, "LANDFALL_HELM, Helm: hack/go-program.sh helm");
    }
    found
}

fn tree() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn template(helm: &Path, args: &[&str]) -> Output {
    Command::new(helm)
        // Without a cluster Helm has a version of its own in mind.
        .args([
            "template",
            "landfall",
            "charts/landfall",
            "--kube-version=1.36.0",
        ])
        .args(args)
        .current_dir(tree())
        .output()
        .unwrap()
}

/// The objects of a stream of YAML, in an order of their own.
fn objects(yaml: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(yaml).unwrap();
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    sorted(all.into_iter().filter(|value| !value.is_null()))
}

fn sorted(all: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let mut all: Vec<Value> = all.into_iter().collect();
    all.sort_by_key(|value| {
        let text = |path: &str| value.pointer(path).map(ToString::to_string);
        (
            text("/kind"),
            text("/metadata/namespace"),
            text("/metadata/name"),
        )
    });
    all
}

fn rendered(helm: &Path, args: &[&str]) -> Vec<Value> {
    let output = template(helm, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    objects(&output.stdout)
}

const NAMESPACE: [&str; 2] = ["--namespace", "landfall-system"];

/// Without what Helm keeps to itself: a release's namespace is not among its objects, and definitions stay without it.
fn as_installed(manifests: &[u8]) -> Vec<Value> {
    let mut all = objects(manifests);
    all.retain(|value| value["kind"] != "Namespace");
    for value in &mut all {
        if value["kind"] == "CustomResourceDefinition" {
            let annotations = json!({"helm.sh/resource-policy": "keep"});
            value["metadata"]["annotations"] = annotations;
        }
    }
    all
}

#[test]
fn the_chart_left_as_it_is_installs_what_install_yaml_does() {
    let Some(helm) = helm("the_chart_left_as_it_is_installs_what_install_yaml_does") else {
        return;
    };
    let manifests = std::fs::read(tree().join("config/install.yaml")).unwrap();
    let (ours, theirs) = (rendered(&helm, &NAMESPACE), as_installed(&manifests));
    assert!(ours.len() > 30, "{}", ours.len());
    assert_alike(&ours, &theirs);
}

#[test]
fn what_the_chart_adds_when_asked_is_what_kustomize_says_of_it() {
    let test = "what_the_chart_adds_when_asked_is_what_kustomize_says_of_it";
    let Some(helm) = helm(test) else { return };
    let Some(programs) = assets::find(assets::API) else {
        return landfall_testbed::skipped(test, "kubectl: hack/control-plane.sh");
    };
    let plain = rendered(&helm, &NAMESPACE);
    for (value, from) in [
        ("gatewayAPI.enabled=true", "config/gateway-api"),
        ("monitoring.enabled=true", "config/monitoring"),
    ] {
        let kustomized = Command::new(programs.join("kubectl"))
            .args(["kustomize", from])
            .current_dir(tree())
            .output()
            .unwrap();
        let mut more = rendered(&helm, &[&NAMESPACE[..], &["--set", value]].concat());
        more.retain(|object| !plain.contains(object));
        assert!(!more.is_empty(), "{value} adds nothing");
        assert_alike(&more, &objects(&kustomized.stdout));
    }
}

/// Of a directory below the target's, the way to another one, as kustomize wants it.
fn relative(from: &Path, to: &Path) -> String {
    let up = from.canonicalize().unwrap().components().count() - 1;
    let to = to.canonicalize().unwrap();
    format!("{}{}", "../".repeat(up), &to.to_str().unwrap()[1..])
}

#[test]
fn an_overlay_with_every_component_is_install_yaml_and_what_each_of_them_says_alone() {
    let test = "an_overlay_with_every_component_is_install_yaml_and_what_each_of_them_says_alone";
    let Some(programs) = assets::find(assets::API) else {
        return landfall_testbed::skipped(test, "kubectl: hack/control-plane.sh");
    };
    let kustomized = |dir: &Path| {
        let output = Command::new(programs.join("kubectl"))
            .arg("kustomize")
            .arg(dir)
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaint}", dir.display());
        objects(&output.stdout)
    };
    let components = ["gateway-api", "monitoring", "networkpolicy"];
    let config = tree().join("config");
    let overlay = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let listed = components.map(|name| relative(overlay.path(), &config.join(name)));
    let text = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [relative(overlay.path(), &config.join("default"))],
        "components": listed,
    });
    std::fs::write(overlay.path().join("kustomization.yaml"), text.to_string()).unwrap();
    let installed = objects(&std::fs::read(config.join("install.yaml")).unwrap());
    let alone = components.iter();
    let alone = alone.flat_map(|name| kustomized(&config.join(name)));
    let wanted = sorted(installed.into_iter().chain(alone));
    assert_alike(&kustomized(overlay.path()), &wanted);
}

#[test]
fn what_a_user_chooses_stands_where_it_belongs() {
    let Some(helm) = helm("what_a_user_chooses_stands_where_it_belongs") else {
        return;
    };
    let all = rendered(
        &helm,
        &[
            "--namespace=landfall-system",
            "--set=image.registry=registry.example/lb,image.tag=v1,image.pullPolicy=Always",
            "--set=image.pullSecrets[0].name=key,crds.install=false,controller.replicas=1",
            "--set=controller.args={--default-class=false},announcer.args={--xdp-mode=off}",
            "--set=announcer.tolerations=null",
            "--set-string=announcer.nodeSelector.edge=true",
        ],
    );
    let find = |kind: &str| all.iter().find(|object| object["kind"] == kind).unwrap();
    let (controller, announcer) = (find("Deployment"), find("DaemonSet"));
    let pod = |workload: &'static str, path: &str| {
        let object = if workload == "controller" {
            controller
        } else {
            announcer
        };
        object
            .pointer(&format!("/spec/template/spec{path}"))
            .cloned()
    };
    assert_eq!(controller["spec"]["replicas"], 1);
    for workload in ["controller", "announcer"] {
        let image = format!("registry.example/lb/landfall-{workload}:v1");
        assert_eq!(pod(workload, "/containers/0/image"), Some(json!(image)));
        assert_eq!(
            pod(workload, "/containers/0/imagePullPolicy"),
            Some(json!("Always"))
        );
        assert_eq!(
            pod(workload, "/imagePullSecrets"),
            Some(json!([{"name": "key"}]))
        );
    }
    let last = |workload| {
        pod(workload, "/containers/0/args")
            .unwrap()
            .as_array()
            .unwrap()
            .last()
            .cloned()
    };
    assert_eq!(last("controller"), Some(json!("--default-class=false")));
    assert_eq!(last("announcer"), Some(json!("--xdp-mode=off")));
    assert_eq!(
        pod("announcer", "/nodeSelector"),
        Some(json!({"edge": "true"}))
    );
    assert_eq!(pod("announcer", "/tolerations"), None);
    assert!(
        all.iter()
            .all(|object| object["kind"] != "CustomResourceDefinition")
    );
}

#[test]
fn a_value_that_does_not_exist_is_refused_by_name() {
    let Some(helm) = helm("a_value_that_does_not_exist_is_refused_by_name") else {
        return;
    };
    let elsewhere = template(&helm, &["--namespace=network"]);
    let said = String::from_utf8_lossy(&elsewhere.stderr);
    assert!(
        said.contains("remedy: --namespace landfall-system"),
        "{said}"
    );
    for (set, named) in [
        ("controler.replicas=3", "controler"),
        ("controller.replicas=0", "replicas"),
        ("announcer.args={xdp-mode=off}", "args"),
    ] {
        let output = template(&helm, &[&NAMESPACE[..], &["--set", set]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{set} is taken");
        assert!(said.contains(named), "{said}");
    }
    let lint = Command::new(&helm)
        .args(["lint", "--strict", "--namespace=landfall-system"])
        .args(["--kube-version=1.36.0", "charts/landfall"])
        .current_dir(tree())
        .output()
        .unwrap();
    assert!(
        lint.status.success(),
        "{}",
        String::from_utf8_lossy(&lint.stdout)
    );
}

/// Equal, and where they are not, the first object that differs.
fn assert_alike(ours: &[Value], theirs: &[Value]) {
    for (one, other) in ours.iter().zip(theirs) {
        assert_eq!(
            serde_json::to_string_pretty(one).unwrap(),
            serde_json::to_string_pretty(other).unwrap()
        );
    }
    assert_eq!(ours.len(), theirs.len());
}
