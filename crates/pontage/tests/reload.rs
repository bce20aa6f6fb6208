//! A configuration that changes in its file: nobody has to tell the gate.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "kit/kit.rs"]
mod kit;

use std::path::PathBuf;

use kit::{Payer, World, get, until};

fn asked(world: &World) -> u128 {
    Payer::offer(&world.url("/paid/ok")).amount_atomic
}

fn file(world: &World) -> PathBuf {
    world.gate.journal().with_file_name("pontage.yaml")
}

fn said(world: &World, words: &str) -> usize {
    world.gate.log().matches(words).count()
}

#[test]
fn a_file_that_changes_is_followed_and_told() {
    let world = World::new();
    world.gate.rewrite("\"0.01\"", "\"0.02\"");
    until("the new price is asked for", || asked(&world) == 20_000);
    let log = world.gate.log();
    for words in ["\"key\":\"routes[/paid/*].price\"", r#""before":"\"0.01\"""#, r#""after":"\"0.02\"""#] {
        assert!(log.contains(words), "{words}\n{log}");
    }
    // Nothing but a comment: read, and not worth a word.
    world.gate.rewrite("version: 1", "version: 1 # the first");
    world.gate.rewrite("path: /free/*", "path: /gratis/*");
    until("the free route is gone", || get(&world.url("/free/ok"), &[]).status == 403);
    assert_eq!(get(&world.url("/gratis/ok"), &[]).status, 200);
    assert_eq!((said(&world, "the configuration was reloaded"), said(&world, "is the same")), (2, 0));
}

#[test]
fn a_mistake_in_the_file_is_told_once_and_changes_nothing() {
    let world = World::new();
    let good = std::fs::read_to_string(file(&world)).unwrap();
    world.gate.rewrite("\"0.01\"", "\"three\"");
    until("it is refused", || said(&world, "was not reloaded, and nothing has changed") == 1);
    assert!(world.gate.log().contains("routes[1].price"), "{}", world.gate.log());
    assert_eq!(world.payer.buy(&world.url("/paid/ok")).status, 200);

    // The other mistake is told as well; by then the first was looked at again several times.
    world.gate.rewrite("\"three\"", "\"four\"");
    until("it is refused", || said(&world, "was not reloaded, and nothing has changed") == 2);
    assert_eq!(asked(&world), 10_000);
    // A file that was cut short, is empty or is gone is no outage.
    for cut in ["version: 1\nrou", ""] {
        let before = said(&world, "nothing has changed");
        std::fs::write(file(&world), cut).unwrap();
        until("it is refused", || said(&world, "nothing has changed") > before);
        assert_eq!(asked(&world), 10_000);
    }
    std::fs::remove_file(file(&world)).unwrap();
    assert_eq!(asked(&world), 10_000);
    std::fs::write(file(&world), good.replace("\"0.01\"", "\"0.03\"")).unwrap();
    until("the new price is asked for", || asked(&world) == 30_000);
    assert_eq!(said(&world, "nothing has changed"), 4);
}

#[test]
fn what_takes_a_restart_says_so() {
    let world = World::new();
    world.gate.rewrite("timeout: 5s", "timeout: 6s");
    until("it is refused", || said(&world, "these take a restart") == 1);
    let log = world.gate.log();
    assert!(log.contains("\"keys\":\"proxy\"") && log.contains("\"key\":\"proxy.timeout\""), "{log}");
    world.gate.rewrite("timeout: 6s", "timeout: 5s");
    world.gate.rewrite("\"0.01\"", "\"0.02\"");
    until("the new price is asked for", || asked(&world) == 20_000);
}

/// As container platforms change a mounted configuration: a link is put in the place of another.
#[test]
fn a_link_that_is_swapped_is_followed() {
    let world = World::new();
    let folder = file(&world).parent().unwrap().to_owned();
    let text = std::fs::read_to_string(file(&world)).unwrap();
    for (version, price) in [("a", "0.02"), ("b", "0.03")] {
        std::fs::create_dir(folder.join(version)).unwrap();
        std::fs::write(folder.join(version).join("pontage.yaml"), text.replace("0.01", price)).unwrap();
    }
    let point_at = |version: &str| {
        std::os::unix::fs::symlink(format!("{version}/pontage.yaml"), folder.join("next")).unwrap();
        std::fs::rename(folder.join("next"), file(&world)).unwrap();
    };
    point_at("a");
    until("the first price is asked for", || asked(&world) == 20_000);
    point_at("b");
    until("the second price is asked for", || asked(&world) == 30_000);
}

#[test]
fn m_029_a_start_says_what_runs_and_what_was_left_out() {
    let world = World::new();
    until("it listens", || said(&world, "\"message\":\"listening\"") == 1);
    let log = world.gate.log();
    assert!(
        log.contains("\"message\":\"the configuration\"") && log.contains("\"networks\":\"eip155:84532\""),
        "{log}"
    );
    let line = log.lines().find(|line| line.contains("their defaults hold")).unwrap();
    assert!(line.contains("default_action") && line.contains("replay.wait_ms"), "{line}");
    assert!(!line.contains("listen") && !line.contains("proxy.timeout"), "{line}");
}
