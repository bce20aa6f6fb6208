//! What packaging/ says about the binary is what the binary does. Nothing here runs a container.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use std::path::Path;
use std::process::{Command, Output};

use kit::{PAYEE, root};
use saphyr::{LoadableYamlNode as _, Yaml};

const CONFIG: &str = "/etc/pontage/config.yaml";
const JOURNAL: &str = "/var/lib/pontage";
const BINARY: &str = "/usr/local/bin/pontage";

fn text(path: &str) -> String {
    let path = root().join("packaging").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(text: &str) -> Yaml<'_> {
    let mut documents = Yaml::load_from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// A chart's template with a word in the place of every expression.
fn rendered(name: &str) -> String {
    let template = text(&format!("helm/templates/{name}"));
    let mut parts = template.split("{{");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + "1" + part.split_once("}}").expect("an expression ends").1)
}

fn pontage(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.args(args).env("PROVIDER_ADDRESS", PAYEE).env("RPC_URL", "http://127.0.0.1:9");
    command.output().unwrap()
}

/// It is valid, listens on the port that everybody maps, and keeps the journal where it survives.
fn check_config(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let ran = pontage(&["validate", "--config", path.to_str().unwrap()]);
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "Config is valid.\n", "{}", String::from_utf8_lossy(&ran.stderr));
    let config = yaml(text);
    assert_eq!(config["listen"].as_str(), Some("0.0.0.0:8402"));
    assert_eq!(config["store"]["path"].as_str().map(Path::new), Some(Path::new(JOURNAL).join("pontage.db").as_path()));
}

/// Every way to install it that the README of packaging names is there.
#[test]
fn g_010_ways_to_install() {
    let readme = text("README.md");
    for (word, file) in [
        ("`Dockerfile`", "Dockerfile"),
        ("`compose.yaml`", "compose.yaml"),
        ("`helm/`", "helm/Chart.yaml"),
        ("`systemd/pontage.service`", "systemd/pontage.service"),
    ] {
        assert!(readme.contains(word) && !text(file).is_empty(), "{word}");
    }
    // What `cargo install` takes: a package of this name, whose one binary has it, too.
    let manifest = std::fs::read_to_string(root().join("crates/pontage/Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"pontage\"") && root().join("crates/pontage/src/main.rs").is_file());
}

#[test]
fn g_086_the_image() {
    let file = text("Dockerfile");
    let lines: Vec<&str> = file.lines().collect();
    for line in [
        "EXPOSE 8402".to_owned(),
        format!("VOLUME {JOURNAL}"),
        format!("ENTRYPOINT [\"{BINARY}\"]"),
        format!("CMD [\"start\", \"--config\", \"{CONFIG}\"]"),
    ] {
        assert!(lines.contains(&line.as_str()), "{line}");
    }
    let check = lines.iter().find(|line| line.starts_with("HEALTHCHECK")).unwrap();
    assert!(check.ends_with(&format!("CMD [\"{BINARY}\", \"health\", \"--url\", \"http://127.0.0.1:8402/readyz\"]")));
    let toolchain: toml::Value =
        toml::from_str(&std::fs::read_to_string(root().join("rust-toolchain.toml")).unwrap()).unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    let from = lines.iter().find_map(|line| line.strip_prefix("FROM rust:")).unwrap();
    assert!(channel.starts_with(from.split('-').next().unwrap()), "{from} and {channel}");
    for command in [["start", "--help"], ["health", "--help"]] {
        assert!(pontage(&command).status.success());
    }
}

#[test]
fn g_087_compose() {
    check_config(&text("pontage/config.yaml"));
    let file = text("compose.yaml");
    let services = &yaml(&file)["services"];
    let gate = &services["pontage"];
    assert_eq!(gate["ports"][0].as_str(), Some("127.0.0.1:8402:8402"));
    assert_eq!(gate["volumes"][0].as_str(), Some("./pontage:/etc/pontage:ro"));
    assert_eq!(gate["volumes"][1].as_str(), Some("journal:/var/lib/pontage"));
    assert!(services["origin"].as_mapping_get("ports").is_none(), "nobody goes around the gate");
    for name in ["PROVIDER_ADDRESS", "RPC_URL", "PONTAGE_SIGNER_KEY"] {
        assert!(gate["environment"][name].as_str().is_some(), "{name}");
        assert!(text("pontage/config.yaml").contains(name), "{name}");
    }
}

#[test]
fn g_087_and_g_x15_the_chart() {
    let values = text("helm/values.yaml");
    let values = yaml(&values);
    check_config(values["config"].as_str().unwrap());
    let amounts =
        |kind: &str| ["cpu", "memory"].map(|what| values["resources"][kind][what].as_str().unwrap().to_owned());
    assert_eq!(
        (amounts("limits"), amounts("requests")),
        (["100m", "128Mi"].map(str::to_owned), ["50m", "64Mi"].map(str::to_owned))
    );

    for name in ["configmap.yaml", "service.yaml", "journal.yaml"] {
        yaml(&rendered(name));
    }
    let file = rendered("deployment.yaml");
    let spec = &yaml(&file)["spec"];
    assert_eq!((spec["replicas"].as_integer(), spec["strategy"]["type"].as_str()), (Some(1), Some("Recreate")));
    let container = &spec["template"]["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["containerPort"].as_integer(), Some(8402));
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"]["path"].as_str(), Some(path));
        assert_eq!(container[probe]["httpGet"]["port"].as_str(), Some("http"));
    }
    let args: Vec<_> = container["args"].as_sequence().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    assert_eq!(args, ["start", "--config", CONFIG]);
    let mounts: Vec<_> = container["volumeMounts"].as_sequence().unwrap().iter().collect();
    assert_eq!(mounts[0]["mountPath"].as_str(), Path::new(CONFIG).parent().unwrap().to_str());
    assert_eq!(mounts[1]["mountPath"].as_str(), Some(JOURNAL));
    let config = values["config"].as_str().unwrap();
    for variable in container["env"].as_sequence().unwrap() {
        assert!(config.contains(variable["name"].as_str().unwrap()));
    }
    let template = text("helm/templates/deployment.yaml");
    assert!(template.contains("checksum/config") && template.contains("/configmap.yaml"));
    // Every value that a template asks for is there.
    for name in ["configmap.yaml", "service.yaml", "journal.yaml", "deployment.yaml"] {
        let template = text(&format!("helm/templates/{name}"));
        for asked in template.split(".Values.").skip(1) {
            let path = asked.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').next().unwrap();
            path.split('.').fold(&values, |value, key| {
                value.as_mapping_get(key).unwrap_or_else(|| panic!("{name} asks for {path}"))
            });
        }
    }
}

#[test]
fn the_unit_of_systemd() {
    let file = text("systemd/pontage.service");
    let lines: Vec<&str> = file.lines().collect();
    assert!(lines.contains(&format!("ExecStart={BINARY} start --config {CONFIG}").as_str()));
    assert!(
        lines.contains(
            &format!("StateDirectory={}", Path::new(JOURNAL).file_name().unwrap().to_str().unwrap()).as_str()
        )
    );
    assert!(file.contains("kill -HUP"));
}
