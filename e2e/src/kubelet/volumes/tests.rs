use super::*;

fn pod(volume: &str) -> Pod {
    serde_saphyr::from_str(&format!(
        "metadata: {{name: p, namespace: shop}}\nspec: {{containers: [], volumes: [{volume}]}}"
    ))
    .unwrap()
}

fn rendered(volume: &str) -> Result<BTreeMap<String, File>, VolumeError> {
    let pod = pod(volume);
    let volumes = of_pod(&pod)?;
    let Some(Content::Files(sources)) = volumes.values().next() else {
        return Ok(BTreeMap::new());
    };
    let keys = BTreeMap::from([
        ("a".to_owned(), b"one".to_vec()),
        ("b".to_owned(), b"two".to_vec()),
    ]);
    let material = Material {
        pod: &pod,
        addresses: &Addresses::default(),
        objects: &BTreeMap::from([((Kind::ConfigMap, "conf".to_owned()), keys)]),
        tokens: &BTreeMap::from([(String::new(), "t0ken".to_owned())]),
    };
    files(sources, &material)
}

fn listing(files: &BTreeMap<String, File>) -> Vec<String> {
    let line = |(path, file): (&String, &File)| {
        format!(
            "{path} {:o} {}",
            file.mode,
            String::from_utf8_lossy(&file.content)
        )
    };
    files.iter().map(line).collect()
}

#[test]
fn a_config_map_becomes_files() {
    let files = rendered("{name: v, configMap: {name: conf, defaultMode: 256}}").unwrap();
    assert_eq!(listing(&files), ["a 400 one", "b 400 two"]);
}

#[test]
fn items_choose_and_rename() {
    let files =
        rendered("{name: v, configMap: {name: conf, items: [{key: b, path: x/y}]}}").unwrap();
    assert_eq!(listing(&files), ["x/y 644 two"]);
}

#[test]
fn a_projected_volume_joins_its_sources() {
    let files = rendered(
        "{name: v, projected: {sources: [
           {serviceAccountToken: {path: token}},
           {configMap: {name: conf, items: [{key: a, path: ca.crt}]}},
           {downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}}]}}",
    )
    .unwrap();
    assert_eq!(
        listing(&files),
        ["ca.crt 644 one", "namespace 644 shop", "token 644 t0ken"]
    );
    assert!(files["token"].private);
}

#[test]
fn a_missing_object_is_an_error_unless_optional() {
    let missing = rendered("{name: v, configMap: {name: nope}}");
    assert!(matches!(missing, Err(VolumeError::NoObject { .. })));
    let optional = rendered("{name: v, configMap: {name: nope, optional: true}}");
    assert_eq!(optional.unwrap(), BTreeMap::new());
}

#[test]
fn an_unknown_kind_of_volume_is_refused_by_name() {
    let error = of_pod(&pod("{name: disk, nfs: {server: s, path: /}}")).unwrap_err();
    assert!(error.to_string().contains("\"disk\""), "{error}");
}

#[test]
fn a_path_cannot_leave_its_volume() {
    for path in ["", "/x", "../x", "a/../b", "a//b", "..data"] {
        assert!(!inside(path), "{path:?}");
    }
    assert!(inside("a/b.c"));
}
