//! What MicroAI's users have of a gate: M-026, M-027, M-029, M-031. Their limits, M-023 and M-025, are with pay-gate's.

use std::time::{Duration, Instant};

use xtask::chain::ChainOptions;

use crate::config::changed;
use crate::kit::{Facilitator, GateOptions, Origin, Payer, World, get, until};
use crate::started::Started;

const FREE: &str = "version: 1
provider_address: \"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"
proxy: { target: \"ORIGIN\" }
routes: [{ path: /free/*, free: true }]
";

/// Each wait has a limit of its own; the shortest one around a call ends it.
#[test]
fn m_026_the_shortest_deadline_wins_and_none_is_zero() {
    for bad in ["0s", "-1s", "0", "11m", "soon"] {
        assert!(changed("3000\"", &format!("3000\", timeout: \"{bad}\"")).contains("proxy.timeout"), "{bad}");
    }
    let facilitators = "version: 1\nfacilitator: { urls: [\"http://127.0.0.1:9\"], verify_timeout_ms: 0 }";
    assert!(changed("version: 1", facilitators).contains("facilitator.verify_timeout_ms"));
    // A price endpoint that hangs is given up long before the call would be.
    let stub = crate::stub::Stub::start(200, "");
    stub.hang();
    let route = format!("  - {{ path: /paid/*, price_endpoint: {{ url: \"{}\", timeout_ms: 300 }} }}\n", stub.url());
    let options = GateOptions { routes: route.leak(), timeout: "20s", ..GateOptions::direct() };
    let world = World::with(ChainOptions::default(), &options);
    let begun = Instant::now();
    assert_eq!(get(&world.url("/paid/ok"), &[]).status, 503);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// Its words are ours: a stable code, and what happened to the money.
#[test]
fn m_027_a_call_that_takes_too_long_is_504_and_costs_nothing() {
    let world = World::with(ChainOptions::default(), &GateOptions { timeout: "300ms", ..GateOptions::direct() });
    for path in ["/free/hang", "/paid/hang"] {
        let header = path.starts_with("/paid").then(|| world.payer.payment(&Payer::offer(&world.url(path))).0);
        let answer = get(&world.url(path), &[("payment-signature", header.as_deref().unwrap_or_default())]);
        assert_eq!((answer.status, answer.error().as_str()), (504, "upstream_timeout"), "{path}");
        assert_eq!(answer.money(), "untouched");
        assert!(answer.json()["message"].as_str().unwrap().starts_with("The upstream did not answer in time."));
    }
    // What the upstream says later is nobody's: the connection is gone, and the books stay as they are.
    let end = world.books().newest();
    world.origin.let_go();
    assert_eq!(get(&world.url("/free/ok"), &[]).text(), "served");
    assert_eq!((world.books().newest(), world.paid()), (end, 0));
}

#[test]
fn m_029_a_start_says_what_runs_and_what_nobody_wrote() {
    let (origin, facilitator) = (Origin::start(), Facilitator::speaking("http://127.0.0.1:9", 2, "eip155:8453"));
    let config = FREE.replace("ORIGIN", &origin.url()).replace("/free/*, free: true", "/paid/*, price: \"0.01\"");
    let args = ["start", "--facilitator-url", facilitator.url()];
    let gate = Started::new(&args, &[], &format!("{config}default_action: passthrough\n"));
    until("it says so", || gate.log().contains("passthrough: what no route matches is served unpaid"));
    let log = gate.log();
    assert!(log.contains("1 paid and 0 free routes, the rest is passed on unpaid"), "{log}");
    assert!(log.contains("these are not in the file") && log.contains("rate_limits.per_agent"), "{log}");
    assert!(log.contains("public_url is not set"), "{log}");
}

#[test]
fn m_031_variables_may_be_in_env_files() {
    let origin = Origin::start();
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("gate");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(above.path().join(".env"), format!("TARGET={}\nACTION=block\n", origin.url())).unwrap();
    std::fs::write(folder.join(".env"), "ACTION=passthrough\n").unwrap();
    let config = folder.join("pontage.yaml");
    std::fs::write(&config, format!("{}default_action: \"${{ACTION}}\"\n", FREE.replace("ORIGIN", "${TARGET}")))
        .unwrap();
    // The nearer file goes before the one above it, and the process before both.
    for (env, status) in [(&[][..], 200), (&[("ACTION", "block")][..], 403)] {
        let gate = Started::new(&["start", "-c", config.to_str().unwrap()], env, "");
        assert_eq!(gate.get("/free/ok").status, 200);
        assert_eq!(gate.get("/other/ok").status, status);
    }
}
