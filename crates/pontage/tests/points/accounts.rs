//! What leads to the points of balances: calls with a key, what an admin does to balances and keys, and what falls due.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use xtask::chain::ChainOptions;

use super::kit::{ADMIN, Admin, Answer, GateOptions, World, try_request, until};
use super::run;

const ROUTES: &str = "  - { path: /paid/*, price: \"0.01\", settlement: direct }\n";

/// A gate with two keys, of which the first has five credits.
struct Holding {
    world: World,
    id: String,
    secret: String,
    other: String,
}

impl Holding {
    fn new() -> Self {
        let options =
            GateOptions { more: format!("accounts: {{}}\n{ADMIN}"), routes: ROUTES, ..GateOptions::default() };
        let world = World::with(ChainOptions::default(), &options);
        let admin = Admin::of(&world.gate);
        let (id, secret) = admin.key(&json!({ "name": "one", "credits": 5 }));
        let (other, _) = admin.key(&json!({ "name": "other" }));
        Self { world, id, secret, other }
    }

    fn restart_to_die(&mut self, point: &str) {
        assert!(self.world.gate.stop().success());
        self.world.gate.restart_to_die(point);
    }

    fn died(&mut self, point: &str) {
        self.world.gate.died(point);
        self.world.origin.let_go();
        self.world.gate.restart();
    }

    fn call(&self, path: &str, name: Option<&str>) -> Option<Answer> {
        // The port changes with every start; the resource does not.
        let mut headers = vec![("host", "localhost"), ("x-api-key", self.secret.as_str())];
        headers.extend(name.map(|name| ("idempotency-key", name)));
        try_request("GET", &self.world.url(path), &headers, b"").ok()
    }

    /// Asks the admin API; `None` where the process died over it.
    fn ask(&self, path: &str, body: &Value) -> Option<Answer> {
        let admin = Admin::of(&self.world.gate);
        let bearer = format!("Bearer {}", admin.token);
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("idempotency-key", "asked-for-once-and-no-more"),
        ];
        try_request("POST", &format!("{}{path}", admin.url), &headers, body.to_string().as_bytes()).ok()
    }

    fn balance(&self, id: &str) -> Value {
        Admin::of(&self.world.gate).get(&format!("/admin/v1/keys/{id}/balance")).json()
    }

    /// Whether a balance is what it must be, nothing is held, and the books say the same.
    fn judge(&self, point: &str, want: u64) {
        until("what is held ends", || self.balance(&self.id)["held"] == 0);
        let found = self.balance(&self.id);
        assert_eq!(found["balance"], want, "{point}: {found}");
        let audit = run::pontage(&self.world.gate, &["ledger", "audit"]);
        assert_eq!(audit.code, 0, "{point}: {audit}");
    }
}

/// A call that is sent to a gate which dies in it, and what is left of five.
fn called(point: &str, path: &str, want: u64) {
    let mut holding = Holding::new();
    holding.restart_to_die(point);
    holding.call(path, None);
    holding.died(point);
    assert!(holding.world.origin.runs(path) <= 1);
    holding.judge(point, want);
}

/// Taken is what was written as taken; what was only held is given back.
pub(crate) fn charged(point: &str) {
    called(point, "/paid/ok", if point == "after-capture" { 4 } else { 5 });
}

pub(crate) fn free_status(point: &str) {
    called(point, "/paid/404", 5);
}

pub(crate) fn unanswered(point: &str) {
    called(point, "/paid/reset", 5);
}

/// Which the API breaks off when it was taken.
pub(crate) fn broken(point: &str) {
    called(point, "/paid/half", if point == "before-give-back" { 4 } else { 5 });
}

/// With a name, by which its answer is kept.
pub(crate) fn kept(point: &str) {
    let mut holding = Holding::new();
    holding.restart_to_die(point);
    let name = "a-name-of-sixteen-and-more";
    holding.call("/paid/ok", Some(name));
    holding.died(point);
    let again = holding.call("/paid/ok", Some(name)).unwrap();
    let want = if point.starts_with("before") { 409 } else { 200 };
    assert_eq!(again.status, want, "{point}: {}", again.text());
    assert_eq!(holding.world.origin.runs("/paid/ok"), 1);
    holding.judge(point, 4);
}

/// Asks for something that has a name, over a process that dies in it, and once more.
fn asked_twice(point: &str, path: impl Fn(&Holding) -> String, body: impl Fn(&Holding) -> Value, want: u64) -> Holding {
    let mut holding = Holding::new();
    holding.restart_to_die(point);
    let (path, body) = (path(&holding), body(&holding));
    assert!(holding.ask(&path, &body).is_none(), "{point}");
    holding.died(point);
    let again = holding.ask(&path, &body).unwrap();
    assert!(again.status < 500, "{point}: {}", again.text());
    holding.judge(point, want);
    holding
}

fn of_key(what: &'static str) -> impl Fn(&Holding) -> String {
    move |holding| format!("/admin/v1/keys/{}/{what}", holding.id)
}

pub(crate) fn granted(point: &str) {
    asked_twice(point, of_key("grants"), |_| json!({ "amount": 10 }), 15);
}

pub(crate) fn withdrawn(point: &str) {
    asked_twice(point, of_key("withdraw"), |_| json!({ "amount": 2 }), 3);
}

pub(crate) fn transferred(point: &str) {
    let holding = asked_twice(point, of_key("transfer"), |holding| json!({ "to": holding.other, "amount": 2 }), 3);
    assert_eq!(holding.balance(&holding.other)["balance"], 2, "{point}");
}

pub(crate) fn administered(point: &str) {
    asked_twice(point, |_| "/admin/v1/admins".to_owned(), |_| json!({ "name": "second", "role": "viewer" }), 5);
}

/// A key that is made with a balance: both are there, or neither.
pub(crate) fn made(point: &str) {
    let body = |_: &Holding| json!({ "name": "third", "credits": 7 });
    let holding = asked_twice(point, |_| "/admin/v1/keys".to_owned(), body, 5);
    let keys = Admin::of(&holding.world.gate).get("/admin/v1/keys").json();
    let third: Vec<&Value> = keys["keys"].as_array().unwrap().iter().filter(|key| key["name"] == "third").collect();
    assert_eq!(third.len(), 1, "{point}: {keys}");
    let balance = holding.balance(third[0]["id"].as_str().unwrap());
    assert_eq!(balance["balance"], 7, "{point}: {balance}");
}

/// What was taken is given back by hand, once.
pub(crate) fn refunded(point: &str) {
    let mut holding = Holding::new();
    assert_eq!(holding.call("/paid/ok", None).unwrap().status, 200);
    let charges = format!("/admin/v1/keys/{}/charges", holding.id);
    let charges = Admin::of(&holding.world.gate).get(&charges).json();
    let charge = charges["charges"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/admin/v1/charges/{charge}/refund");
    holding.restart_to_die(point);
    assert!(holding.ask(&path, &json!({})).is_none(), "{point}");
    holding.died(point);
    assert!(holding.ask(&path, &json!({})).unwrap().status < 500);
    holding.judge(point, 5);
}

/// A grant that ends while no gate runs.
pub(crate) fn lapsed(point: &str) {
    let mut holding = Holding::new();
    let now_ms = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let ends_ms = now_ms() + 1_000;
    let path = format!("/admin/v1/keys/{}/grants", holding.id);
    let granted = holding.ask(&path, &json!({ "amount": 10, "expires_at_ms": ends_ms })).unwrap();
    assert_eq!(granted.status / 100, 2, "{}", granted.text());
    assert!(holding.world.gate.stop().success());
    until("it has ended", || now_ms() > ends_ms);
    holding.world.gate.restart_to_die(point);
    holding.died(point);
    let ended = "SELECT count(*) FROM entries WHERE kind = 'lapsed'";
    until("it is booked as ended", || run::count(&holding.world.gate, ended) == 1);
    holding.judge(point, 5);
}

/// A pass is taken back, by the command.
pub(crate) fn pass_revoked(point: &str) {
    let mut holding = Holding::new();
    holding.restart_to_die(point);
    let cut = run::pontage(&holding.world.gate, &["pass", "revoke", &"0".repeat(32)]);
    assert_ne!(cut.code, 0, "{point}: {cut}");
    holding.died(point);
    holding.judge(point, 5);
}
