//! The settings of the controller that is installed, from its Deployment.

use clap::Parser as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;
use landfall_controller::args::Args;
use landfall_controller::settings::Settings;

/// Flags that the controller also takes from its environment, and that decide who is served.
const DECIDING: [(&str, &str); 2] = [
    ("LANDFALL_DEFAULT_CLASS", "--default-class"),
    ("LANDFALL_GATEWAY_NAMESPACES", "--gateway-namespaces"),
];

/// The container that runs the program.
pub(crate) fn container(deployment: &Deployment) -> Option<&Container> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.first()
}

/// The controller's settings; a note where they had to be guessed.
///
/// # Errors
/// Never for flags of the controller's own version: only what no version could mean.
pub(crate) fn of(deployment: Option<&Deployment>) -> anyhow::Result<(Settings, Option<String>)> {
    const GUESSED: &str =
        "the controller's flags cannot be read: what is said here supposes --default-class=true";
    let Some(container) = deployment.and_then(container) else {
        return Ok((usual()?, Some(GUESSED.to_owned())));
    };
    let mut flags: Vec<String> = vec!["landfall-controller".to_owned()];
    let environment = container.env.iter().flatten();
    for variable in environment {
        let known = DECIDING.iter().find(|(name, _)| *name == variable.name);
        if let (Some((_, flag)), Some(value)) = (known, &variable.value) {
            flags.push(format!("{flag}={value}"));
        }
    }
    // What is typed comes after, and counts.
    let typed = crate::flags::flags(container.args.as_deref().unwrap_or_default());
    let deciding = typed
        .into_iter()
        .filter(|typed| DECIDING.iter().any(|(_, flag)| typed.name == *flag));
    for typed in deciding {
        let before = format!("{}=", typed.name);
        flags.retain(|flag| !flag.starts_with(&before));
        flags.push(typed.to_string());
    }
    match Args::try_parse_from(flags) {
        Ok(args) => Ok((Settings::resolve(&args)?, None)),
        Err(_) => Ok((usual()?, Some(GUESSED.to_owned()))),
    }
}

fn usual() -> anyhow::Result<Settings> {
    let args = Args::try_parse_from(["landfall-controller"])?;
    Ok(Settings::resolve(&args)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(args: &[&str], env: serde_json::Value) -> Deployment {
        serde_json::from_value(serde_json::json!({
            "spec": {"selector": {}, "template": {"spec": {"containers": [
                {"name": "controller", "args": args, "env": env}
            ]}}}
        }))
        .unwrap()
    }

    #[test]
    fn the_flags_of_the_deployment_count_and_come_before_its_environment() {
        let env = serde_json::json!([
            {"name": "LANDFALL_DEFAULT_CLASS", "value": "true"},
            {"name": "LANDFALL_GATEWAY_NAMESPACES", "value": "a,b"},
        ]);
        let found = deployment(&["--admin-address=[::]:8080", "--default-class=false"], env);
        let (settings, note) = of(Some(&found)).unwrap();
        assert!(!settings.default_class && note.is_none());
        assert_eq!(settings.gateway_namespaces.len(), 2);
    }

    #[test]
    fn a_flag_whose_value_stands_apart_is_read_too() {
        let found = deployment(&["--default-class", "false"], serde_json::json!([]));
        let (settings, note) = of(Some(&found)).unwrap();
        assert!(!settings.default_class && note.is_none());
    }

    #[test]
    fn without_a_deployment_the_usual_is_supposed_and_said() {
        let (settings, note) = of(None).unwrap();
        assert!(settings.default_class && note.is_some());
    }
}
