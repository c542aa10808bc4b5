use super::*;

const POD: &str = "
metadata: {name: announcer-x, namespace: landfall-system, uid: u-1}
spec:
  hostNetwork: true
  securityContext: {seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: announcer
      image: landfall/landfall-announcer:0.1.0
      args: [--admin-address, '$(NODE_IP):7780']
      securityContext:
        readOnlyRootFilesystem: true
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL], add: [NET_RAW, NET_ADMIN, BPF]}
      resources:
        requests: {cpu: 50m, memory: 64Mi}
        limits: {cpu: 1.5, memory: 256Mi}
      volumeMounts:
        - {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
        - {name: bpffs, mountPath: /sys/fs/bpf}
";

fn place() -> Place {
    let volume = |name: &str| (name.to_owned(), PathBuf::from(format!("/n/volumes/{name}")));
    Place {
        rootfs: "/n/b/rootfs".into(),
        netns: "/run/netns/node".into(),
        hostname: "worker-1".into(),
        cgroup: "/lf-u-1-announcer-0".into(),
        realtime: false,
        hosts: "/n/hosts".into(),
        termination_log: "/n/b/termination-log".into(),
        volumes: BTreeMap::from([volume("token"), volume("bpffs")]),
    }
}

fn image() -> Image {
    Image {
        path: "/build/landfall-announcer".into(),
        args: vec!["run".into()],
        env: BTreeMap::new(),
        user: 0,
    }
}

fn built(change: impl FnOnce(&mut Container)) -> Result<Value, BundleError> {
    let pod: Pod = serde_saphyr::from_str(POD).unwrap();
    let mut container = pod.spec.clone().unwrap().containers.remove(0);
    change(&mut container);
    let variables = BTreeMap::from([("NODE_IP".to_owned(), "192.0.2.11".to_owned())]);
    config(&pod, &container, &image(), &variables, &place())
}

#[test]
fn the_announcers_bundle_is_what_its_pod_asks_for() {
    insta::assert_json_snapshot!("announcer", built(|_| ()).unwrap());
}

#[test]
fn whoever_may_have_real_time_gets_some_where_cgroups_have_a_budget_of_it() {
    let pod: Pod = serde_saphyr::from_str(&POD.replace("NET_RAW", "SYS_NICE")).unwrap();
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let of = |realtime| {
        let place = Place {
            realtime,
            ..place()
        };
        let config = config(&pod, container, &image(), &BTreeMap::new(), &place).unwrap();
        config["linux"]["resources"]["cpu"]["realtimeRuntime"].clone()
    };
    assert_eq!((of(true), of(false)), (json!(REALTIME), Value::Null));
}

#[test]
fn a_command_replaces_the_entry_and_its_arguments() {
    let config = built(|c| c.command = Some(vec!["/bin/sh".into(), "-c".into(), "id".into()]));
    let args = config.unwrap()["process"]["args"].clone();
    assert_eq!(
        args,
        json!(["/bin/sh", "-c", "id", "--admin-address", "192.0.2.11:7780"])
    );
}

#[test]
fn a_command_that_names_the_binary_finds_it() {
    let config = built(|c| {
        c.command = Some(vec!["/usr/bin/landfall-announcer".into()]);
        c.args = None;
    });
    let args = config.unwrap()["process"]["args"].clone();
    assert_eq!(args, json!(["/landfall/bin/landfall-announcer"]));
}

#[test]
fn a_mount_of_no_volume_is_an_error() {
    let mount = VolumeMount {
        name: "gone".into(),
        mount_path: "/x".into(),
        ..Default::default()
    };
    let error = built(|c| c.volume_mounts = Some(vec![mount])).unwrap_err();
    assert_eq!(error, BundleError::NoVolume("gone".into()));
}

#[test]
fn a_sub_path_stays_inside() {
    let mount = |path: &str| VolumeMount {
        name: "token".into(),
        mount_path: "/x".into(),
        sub_path: Some(path.into()),
        ..Default::default()
    };
    let error = built(|c| c.volume_mounts = Some(vec![mount("../../etc")])).unwrap_err();
    assert_eq!(error, BundleError::SubPath("../../etc".into()));
    let config = built(|c| c.volume_mounts = Some(vec![mount("ca.crt")])).unwrap();
    let mounts = config["mounts"].as_array().unwrap().clone();
    assert_eq!(mounts.last().unwrap()["source"], "/n/volumes/token/ca.crt");
}

#[test]
fn quantities_are_read_exactly() {
    assert_eq!(milli("50m"), Some(50));
    assert_eq!(milli("1.5"), Some(1500));
    assert_eq!(milli("256Mi"), Some(256 * 1024 * 1024 * 1000));
    assert_eq!(milli("0.5Gi"), Some(512 * 1024 * 1024 * 1000));
    for bad in ["", "x", "1.2.3", "5Q", "99999999999999999999"] {
        assert_eq!(milli(bad), None, "{bad:?}");
    }
}
