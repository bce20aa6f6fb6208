//! schemathesis asks for everything that docs/admin-openapi.json says, and for much that it refuses: no 5xx, no status and no body that
//! the document does not have.

use std::process::Command;

use serde_json::{Value, json};
use xtask::peers;

use super::world;
use crate::kit::root;

/// What is looked at in every answer. What the document cannot say of a value is refused with 400, so that a request that fits it may be.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method";

#[test]
fn the_document_is_what_is_answered() {
    let python = peers::schemathesis(&root()).expect("schemathesis is installed");
    let (world, admin) = world();
    let (one, _) = admin.key(&json!({ "name": "one", "alias": "one", "credits": 1_000 }));
    let (two, secret) = admin.key(&json!({ "name": "two", "credits": 1_000 }));
    assert_eq!(super::get(&world.url("/paid/ok"), &[("x-api-key", &secret)]).status, 200);
    let charge = admin.get("/admin/v1/usage").json()["charges"][0]["id"].clone();
    let made = admin.post("/admin/v1/admins", &json!({ "name": "made", "role": "viewer" })).json();
    // Names that are there, beside those that are drawn: most answers would say that there is no such thing.
    let mut document: Value =
        serde_json::from_slice(&std::fs::read(root().join("docs/admin-openapi.json")).unwrap()).unwrap();
    for (path, item) in document["paths"].as_object_mut().unwrap() {
        let known = match path {
            path if path.contains("/keys/{key}") => json!([one, "one", two]),
            path if path.contains("/charges/{id}") => json!([charge]),
            path if path.contains("/admins/{id}") => json!([made["id"]]),
            _ => continue,
        };
        for operation in item.as_object_mut().unwrap().values_mut() {
            let named = operation["parameters"].as_array_mut().unwrap().iter_mut();
            for parameter in named.filter(|parameter| matches!(parameter["name"].as_str(), Some("key" | "id"))) {
                let drawn = parameter["schema"].take();
                parameter["schema"] = json!({ "anyOf": [{ "enum": known }, drawn] });
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin-openapi.json");
    std::fs::write(&file, document.to_string()).unwrap();
    let ran = Command::new(&python)
        .args(["-m", "schemathesis.cli", "run"])
        .arg(&file)
        .args(["--url", &admin.url, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", "12", "--seed", "1", "--no-color", "--continue-on-failure", "--warnings", "off"])
        .args(["--header", &format!("Authorization: Bearer {}", admin.token)])
        .args(["--suppress-health-check", "all", "--generation-database", "none"])
        .current_dir(folder.path())
        .output()
        .expect("schemathesis runs");
    let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{told}");
    assert!(admin.get("/admin/v1/me").status == 200 && admin.get("/readyz").status == 200);
}
