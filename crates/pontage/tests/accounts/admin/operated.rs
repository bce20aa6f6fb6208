//! Keys through the API and the command line, copies of the journal, and what must be nowhere.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{Admin, get, world};
use crate::kit::{ADMIN_TOKEN, World};

/// Runs a command in the gate's folder.
fn pontage(world: &World, words: &[&str], token: Option<&str>) -> Output {
    let folder = world.gate.journal();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pontage"));
    command.args(words).current_dir(folder.parent().unwrap()).env_remove("PONTAGE_ADMIN_TOKEN");
    command.envs(token.map(|token| ("PONTAGE_ADMIN_TOKEN", token))).output().unwrap()
}

fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A key's life: made, found, changed, suspended, resumed, rotated with an overlap, cloned, revoked. Each act is in the log once.
#[test]
fn the_life_of_a_key() {
    let (world, admin) = world();
    let body = json!({ "name": "shop", "alias": "shop-1", "credits": 50, "tags": { "team": "a" } });
    let (id, first) = admin.key(&body);
    let at = "/admin/v1/keys/shop-1";
    let call = |secret: &str| get(&world.url("/paid/ok"), &[("x-api-key", secret)]).status;
    assert_eq!((call(&first), admin.get(at).json()["id"].as_str()), (200, Some(id.as_str())));
    assert_eq!(admin.get("/admin/v1/keys?tag=team=a&sort=name").json()["keys"][0]["id"], id.as_str());
    assert_eq!(admin.get("/admin/v1/keys?tag=team=b").json()["keys"], json!([]));

    let change = |body: &Value| admin.ask("PATCH", at, &[], body.to_string().as_bytes());
    assert_eq!(change(&json!({ "name": "store" })).json()["name"], "store");
    let plan = json!({ "policy": { "routes": { "deny": ["/paid/other"] } } });
    let put = admin.ask("PUT", "/admin/v1/plans/small", &[], plan.to_string().as_bytes());
    assert_eq!((put.status, &put.json()["plans"][0]["name"]), (200, &json!("small")), "{}", put.text());
    assert_eq!(change(&json!({ "plan": "none-such" })).status, 404);
    assert_eq!(change(&json!({ "plan": "small" })).status, 200);
    assert_eq!(admin.ask("DELETE", "/admin/v1/plans/small", &[], b"").error(), "plan_in_use");
    let denied = get(&world.url("/paid/other"), &[("x-api-key", &first)]);
    assert_eq!(denied.status, 403, "{}", denied.text());

    let act = |what: &str, body: &Value| admin.post(&format!("{at}/{what}"), body);
    let tried = act("suspend?dry_run=true", &json!(null)).json();
    assert_eq!(
        (&tried["before"]["key"]["state"], &tried["after"]["key"]["state"]),
        (&json!("active"), &json!("suspended"))
    );
    assert_eq!(call(&first), 200, "it was only tried");
    assert_eq!(act("suspend", &json!(null)).json()["status"], "suspended");
    assert_eq!(call(&first), 403);
    assert_eq!(act("resume", &json!(null)).json()["status"], "active");
    let rotated = act("rotate", &json!({ "overlap_s": 60 })).json();
    let second = rotated["secret"].as_str().unwrap().to_owned();
    assert_eq!((call(&first), call(&second)), (200, 200));
    let once = admin.post_once(&format!("{at}/rotate"), &json!({}), "again-1").json();
    let again = admin.post_once(&format!("{at}/rotate"), &json!({}), "again-1").json();
    let third = once["secret"].as_str().unwrap().to_owned();
    assert_eq!((&again["secret"], call(&third), call(&second)), (&Value::Null, 200, 401), "shown once, and done once");
    let cloned = act("clone", &json!({ "name": "copy" }));
    assert_eq!((cloned.status, &cloned.json()["key"]["balance"]), (201, &json!(0)), "{}", cloned.text());
    assert_eq!(admin.get(&format!("{at}/health")).json()["errors"], 100);
    assert_eq!(admin.get(&format!("{at}/stats")).json()["last_day"]["captured"], 5);
    assert_eq!(act("revoke", &json!(null)).json()["status"], "revoked");
    assert_eq!((call(&third), act("resume", &json!(null)).error().as_str()), (403, "key_revoked"));

    let acts = admin.get(&format!("/admin/v1/audit?subject=key:{id}")).json();
    let names: Vec<&str> = acts["acts"].as_array().unwrap().iter().filter_map(|act| act["action"].as_str()).collect();
    let want = [
        "revoke_key",
        "rotate_key",
        "rotate_key",
        "resume_key",
        "suspend_key",
        "update_key",
        "update_key",
        "create_key",
    ];
    assert_eq!(
        names.iter().filter(|name| **name != "resume_key").collect::<Vec<_>>(),
        want.iter().filter(|name| **name != "resume_key").collect::<Vec<_>>()
    );
    for secret in [&first, &second, &third] {
        assert!(!acts.to_string().contains(secret.as_str()));
    }
}

/// The command line does what the API does, and a token is never in it.
#[test]
fn the_command_line() {
    let (world, admin) = world();
    let url = admin.url.as_str();
    let run = |words: &[&str]| pontage(&world, &[&["admin", "--url", url], words].concat(), Some(ADMIN_TOKEN));
    let made = told(&run(&["keys", "create", "--name", "shop", "--alias", "shop", "--credits", "5"]));
    let id = made["key"]["id"].as_str().unwrap();
    assert_eq!(told(&run(&["--dry-run", "grant", "shop", "7"]))["after"]["balance"], 12);
    assert_eq!(told(&run(&["grant", "shop", "7", "--label", "gift"]))["balance"], 12);
    assert_eq!(told(&run(&["balance", id]))["balance"], 12);
    let other = told(&run(&["keys", "clone", "shop", "--name", "other"]));
    let other = other["key"]["id"].as_str().unwrap();
    assert_eq!(told(&run(&["transfer", "shop", other, "2"]))["balance"], 10);
    assert_eq!(told(&run(&["withdraw", "shop", "1"]))["balance"], 9);
    assert_eq!(told(&run(&["keys", "list", "--sort", "name"]))["keys"][0]["name"], "other");
    assert_eq!(told(&run(&["status"]))["status"], "operating");
    assert_eq!(told(&run(&["maintenance", "begin", "--message", "soon"]))["status"], "maintenance");
    assert_eq!(told(&run(&["maintenance", "end"]))["status"], "operating");
    assert_eq!(told(&run(&["audit", "--action", "grant"]))["acts"].as_array().map(Vec::len), Some(1));
    assert_eq!(told(&run(&["api", "get", "/admin/v1/me"]))["role"], "owner");
    let csv = run(&["keys", "export", "--csv"]);
    assert!(String::from_utf8_lossy(&csv.stdout).starts_with("id,name,"), "{csv:?}");
    let refused = run(&["grant", "shop", "0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("[amount]"), "{refused:?}");
    let nobody = pontage(&world, &["admin", "--url", url, "status"], None);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("PONTAGE_ADMIN_TOKEN"), "{nobody:?}");
}

/// An export has no secret; imported elsewhere it makes the same keys, and one that is there is an error, skipped or written anew.
#[test]
fn keys_go_elsewhere() {
    let (_world, admin) = world();
    let (_, secret) = admin.key(&json!({ "name": "shop", "alias": "shop", "credits": 5 }));
    let exported = admin.get("/admin/v1/keys/export");
    assert!(!exported.text().contains(&secret));
    let mut keys = exported.json()["keys"].clone();
    let import = |keys: &Value, mode: &str| admin.post("/admin/v1/keys/import", &json!({ "keys": keys, "mode": mode }));
    for (mode, want) in [("error", "refused"), ("skip", "skipped"), ("overwrite", "overwritten")] {
        let came = import(&keys, mode);
        assert_eq!(came.json()["results"][0]["result"], want, "{mode}: {}", came.text());
    }
    keys[0]["id"] = Value::Null;
    keys[0]["alias"] = json!("shop-2");
    keys[0].as_object_mut().unwrap().remove("id");
    let made = import(&keys, "error").json();
    assert_eq!(made["results"][0]["result"], "made", "{made}");
    assert!(made["results"][0]["secret"].as_str().is_some_and(|secret| secret.starts_with("pg_")));
}

/// A copy is one moment, checked; it is put back only where there is no journal, and only as it was made.
#[test]
fn backup_and_restore() {
    let (mut world, admin) = world();
    let (id, secret) = admin.key(&json!({ "name": "a", "credits": 5 }));
    assert_eq!(get(&world.url("/paid/ok"), &[("x-api-key", &secret)]).status, 200);
    let made = admin.post("/admin/v1/backups", &json!(null));
    assert_eq!(made.status, 200, "{}", made.text());
    assert!(Path::new(made.json()["file"].as_str().unwrap()).is_file());
    assert_eq!(admin.get("/admin/v1/audit?action=backup").json()["acts"].as_array().map(Vec::len), Some(1));
    let copied = pontage(&world, &["backup", "copy.db", "--json"], None);
    assert!(told(&copied)["manifest"]["entries"].as_u64().is_some_and(|entries| entries > 0));
    let again = pontage(&world, &["backup", "copy.db"], None);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("nothing is written over"));
    // Nothing that was spent after the copy is in it.
    assert_eq!(get(&world.url("/paid/ok"), &[("x-api-key", &secret)]).status, 200);
    let over = pontage(&world, &["restore", "copy.db"], None);
    assert!(!over.status.success() && String::from_utf8_lossy(&over.stderr).contains("nothing is written over"));

    world.gate.stop();
    let journal = world.gate.journal();
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{end}", journal.display())).ok();
    }
    let copy = journal.with_file_name("copy.db");
    let whole = std::fs::read(&copy).unwrap();
    let mut bent = whole.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    std::fs::write(&copy, &bent).unwrap();
    let refused = pontage(&world, &["restore", "copy.db"], None);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("checksum"), "{refused:?}");
    assert!(!journal.exists());
    std::fs::write(&copy, &whole).unwrap();
    let restored = pontage(&world, &["restore", "copy.db"], None);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    world.gate.restart();
    let admin = Admin::of(&world.gate);
    assert_eq!(admin.get(&format!("/admin/v1/keys/{id}/balance")).json()["balance"], 4);
    assert_eq!(get(&world.url("/paid/ok"), &[("x-api-key", &secret)]).status, 200);
}

/// No secret is in what a run wrote: its log, its journal, copies of it, exports, refusals.
#[test]
fn secrets_are_nowhere() {
    let (mut world, admin) = world();
    let (id, secret) = admin.key(&json!({ "name": "a", "alias": "a", "credits": 5 }));
    let imported = format!("pg_{}", "5e".repeat(24));
    let keys = json!({ "keys": [{ "name": "came", "secret": imported, "credits": 1 }], "mode": "error" });
    let came = admin.post_once("/admin/v1/keys/import", &keys, "import-1");
    assert_eq!((came.status, &came.json()["results"][0]["result"]), (200, &json!("made")), "{}", came.text());
    let rotated = admin.post(&format!("/admin/v1/keys/{id}/rotate"), &json!({ "overlap_s": 60 })).json();
    let token = admin.post("/admin/v1/keys/a/tokens", &json!({})).json();
    let other = admin.post_once("/admin/v1/admins", &json!({ "name": "b", "role": "viewer" }), "admin-1").json();
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    let secrets = [
        secret.clone(),
        imported.clone(),
        text(&rotated["secret"]),
        text(&token["token"]),
        text(&other["token"]),
        ADMIN_TOKEN.to_owned(),
    ];
    let mut out = String::new();
    for shown in &secrets {
        let headers = [("x-api-key", shown.as_str())];
        out.push_str(&get(&world.url("/paid/ok"), &headers).text());
        out.push_str(&admin.with(&format!("{shown}x")).get("/admin/v1/me").text());
        let body = json!({ "amount": shown });
        out.push_str(&admin.post(&format!("/admin/v1/keys/{id}/grants"), &body).text());
    }
    for path in
        ["keys", "keys/export", "keys/export?format=csv", "audit", "admins", "usage", "keys/a", "tokens/revoked"]
    {
        out.push_str(&admin.get(&format!("/admin/v1/{path}")).text());
    }
    out.push_str(&admin.post_once("/admin/v1/keys/import", &keys, "import-1").text());
    out.push_str(&get(&format!("{}/metrics", admin.url), &[]).text());
    assert_eq!(admin.post("/admin/v1/backups", &json!(null)).status, 200);
    world.gate.stop();
    out.push_str(&world.gate.log());
    let folder = world.gate.journal().parent().unwrap().to_owned();
    let mut files = 0;
    for folder in [folder.clone(), folder.join("backups")] {
        for file in std::fs::read_dir(folder).unwrap().flatten().filter(|file| file.path().is_file()) {
            files += 1;
            out.push_str(&String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()));
        }
    }
    assert!(files >= 4, "a configuration, a journal, a copy and its manifest");
    for shown in &secrets {
        assert!(!out.contains(shown.as_str()), "{} characters of a secret are written somewhere", shown.len());
    }
}

/// PayGate's paths are names of the same acts; what has no meaning here is refused by its name.
#[test]
fn pay_gates_paths() {
    let (world, admin) = world();
    let ask = |method: &str, path: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("x-admin-key", ADMIN_TOKEN), ("content-type", "application/json")];
        crate::kit::request(method, &format!("{}{path}", admin.url), &headers, body.as_bytes())
    };
    let post = |path: &str, body: Value| ask("POST", path, &body);
    let new = json!({ "name": "shop", "credits": 9, "ipAllowlist": ["127.0.0.1"], "namespace": "n", "quota": { "dailyCallLimit": 5 } });
    let made = post("/keys", new);
    assert_eq!(made.status, 201, "{}", made.text());
    let (id, secret) =
        (made.json()["key"]["id"].as_str().unwrap().to_owned(), made.json()["secret"].as_str().unwrap().to_owned());
    assert_eq!(made.json()["key"]["tags"]["namespace"], "n");
    assert_eq!(get(&world.url("/paid/ok"), &[("x-api-key", &secret)]).status, 200);
    for (path, body) in [
        ("/keys/acl", json!({ "key": secret, "deniedTools": ["rm"] })),
        ("/keys/ip", json!({ "key": id, "ips": ["127.0.0.1", "10.0.0.0/8"] })),
        ("/limits", json!({ "key": id, "spendingLimit": 100 })),
        ("/keys/expiry", json!({ "key": id, "expiresIn": 600 })),
        ("/keys/tags", json!({ "key": id, "tags": { "team": "a" } })),
        ("/keys/alias", json!({ "key": id, "alias": "shop" })),
        ("/keys/notes", json!({ "key": "shop", "text": "paid by hand" })),
        ("/keys/suspend", json!({ "key": "shop" })),
        ("/keys/resume", json!({ "key": "shop" })),
        ("/topup", json!({ "key": "shop", "credits": 2 })),
        ("/keys/templates", json!({ "name": "small", "credits": 1 })),
        ("/keys/templates/delete", json!({ "name": "small" })),
        ("/tokens", json!({ "key": "shop", "ttl": 60 })),
        ("/admin/keys", json!({ "name": "ann", "role": "super_admin" })),
        ("/keys/rotate", json!({ "key": "shop" })),
    ] {
        let answer = post(path, body);
        assert!(answer.status < 300, "{path}: {}", answer.text());
    }
    let key = admin.get("/admin/v1/keys/shop").json();
    assert_eq!(key["policy"]["tools"]["deny"], json!(["rm"]), "{key}");
    let budgets = &key["policy"]["budgets"];
    assert_eq!((&budgets[0]["limit"], &budgets[1]["limit"]), (&json!(5), &json!(100)), "the quota of its making stays");
    assert_eq!(key["policy"]["addresses"].as_array().map(Vec::len), Some(2));
    assert_eq!((&key["balance"], &key["notes"][0]["text"]), (&json!(10), &json!("paid by hand")));
    for path in ["/keys", "/keys/export", "/usage", "/audit", "/admin/keys", "/tokens/revoked", "/keys/templates"] {
        assert_eq!(ask("GET", path, &Value::Null).status, 200, "{path}");
    }
    for path in ["stats", "health", "usage", "notes", "schedule", "activity", "credit-history", "spending-velocity"] {
        let answer = ask("GET", &format!("/keys/{path}?key=shop"), &Value::Null);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    assert_eq!(ask("DELETE", "/keys/notes?key=shop&id=1", &Value::Null).status, 200);
    for (path, body, status) in [
        ("/keys", json!({ "name": "x", "webhook": "http://a" }), 400),
        ("/keys", json!({ "name": "x", "tags": "x", "namespace": "y" }), 400),
        ("/keys/quota", json!({ "key": "shop", "quota": 7 }), 400),
        ("/keys/acl", json!({ "key": "none-such", "deniedTools": [] }), 404),
        ("/keys/suspend", json!({}), 400),
        ("/keys/webhook", json!({ "key": "shop" }), 404),
    ] {
        assert_eq!(post(path, body).status, status, "{path}");
    }
    let tried = ask("POST", "/keys/revoke?dry_run=true", &json!({ "key": "shop" })).json();
    assert_eq!((&tried["dry_run"], &tried["after"]["key"]["state"]), (&json!(true), &json!("revoked")), "{tried}");
    let nobody = crate::kit::request("POST", &format!("{}/keys", admin.url), &[], b"{}");
    assert_eq!(nobody.status, 401);
}

/// A listener that can be reached from elsewhere needs a token, and a token that can be guessed is none.
#[test]
fn a_listener_for_everybody_needs_a_token() {
    let (world, _) = world();
    let file = world.gate.journal().with_file_name("open.yaml");
    let start = |listen: &str, token: Option<&str>| {
        let config = format!(
            "version: 1\nlisten: 127.0.0.1:0\nprovider_address: \"{}\"\nstore: {{ path: other.db }}\n\
             proxy: {{ target: \"http://127.0.0.1:9\" }}\nroutes: [{{ path: /free, free: true }}]\n\
             admin: {{ listen: \"{listen}\" }}\n",
            crate::kit::PAYEE
        );
        std::fs::write(&file, config).unwrap();
        let ended = pontage(&world, &["start", "--config", "open.yaml"], token);
        assert_eq!(ended.status.code(), Some(1), "{listen}");
        String::from_utf8_lossy(&ended.stderr).into_owned()
    };
    assert!(start("0.0.0.0:0", None).contains("there is no admin's token"));
    let guessed = start("127.0.0.1:0", Some("short"));
    assert!(guessed.contains("can be guessed") && !guessed.contains("short\""), "{guessed}");
}
