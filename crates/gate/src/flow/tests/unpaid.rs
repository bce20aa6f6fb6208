//! Who passes unpaid, and who does not.

use super::*;
use crate::{FreePass, Unpaid};

const OTHER: &str = "http://gate.test/other";
const FREE: &str = "http://gate.test/free";
const NOWHERE: &str = "http://gate.test/nowhere";

fn stranger() -> Payer {
    Payer(address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"))
}

/// What a call without a payment comes to.
fn word(world: &Rc<World>, snapshot: &Snapshot, url: &str, signed_in: Option<Payer>) -> String {
    let call = Call { signed_in, ..found(snapshot, &call(url, Presented::Nothing)) };
    match now(rig(world).open(snapshot, &call, |_, _| true)) {
        Opened::Free(pass) => pass_word(&pass).to_owned(),
        Opened::Challenge { refusal } => refusal.map_or("asked to pay", Refusal::code).to_owned(),
        Opened::SignIn => "asked to sign in".to_owned(),
        Opened::Blocked => "blocked".to_owned(),
        Opened::Fault(fault) => fault.to_string(),
        opened @ (Opened::TooMany | Opened::Permit(_) | Opened::Replay(_)) => panic!("{opened:?}"),
    }
}

fn pass_word(pass: &FreePass) -> &'static str {
    match pass.why() {
        Unpaid::Free => "free",
        Unpaid::Passthrough => "passthrough",
        Unpaid::Allowlisted(payer) => {
            assert_eq!(payer, settled().payer);
            "allowlisted"
        }
        Unpaid::PaidBefore(payer) => {
            assert_eq!(payer, settled().payer);
            "paid before"
        }
        Unpaid::Pass { .. } => "a pass",
        Unpaid::Unverified => "unverified",
        Unpaid::Rehearsed => "rehearsed",
    }
}

#[test]
fn allowlists() {
    let (his, nobodys) = (vec![settled().payer], Vec::new());
    let payer = Some(settled().payer);
    for (url, on_route, globally, signed_in, want) in [
        (URL, &his, &nobodys, payer, "allowlisted"),
        (URL, &nobodys, &his, payer, "allowlisted"),
        (URL, &his, &his, payer, "allowlisted"),
        // Nobody is who he says without a proof, and a proof of another key is none.
        (URL, &his, &his, None, "asked to pay"),
        (URL, &his, &his, Some(stranger()), "asked to pay"),
        // The list of one route opens no other.
        (OTHER, &his, &nobodys, payer, "asked to pay"),
        (OTHER, &nobodys, &his, payer, "allowlisted"),
        (FREE, &his, &nobodys, payer, "free"),
        // What is not served to anybody is not served to those who pay nothing.
        (NOWHERE, &his, &his, payer, "blocked"),
    ] {
        let mut snapshot = snapshot();
        (snapshot.routes[1].allowlist, snapshot.allowlist) = (on_route.clone(), globally.clone());
        let world = World::new();
        assert_eq!(word(&world, &snapshot, url, signed_in), want, "{url} {on_route:?} {globally:?}");
        assert_eq!(world.calls(), "", "no journal and no chain is asked");
    }
}

#[test]
fn a_free_route_with_a_list_is_for_those_alone() {
    for (globally, signed_in, want) in [
        (false, None, "asked to sign in"),
        (false, Some(stranger()), "asked to sign in"),
        (false, Some(settled().payer), "allowlisted"),
        (true, Some(stranger()), "allowlisted"),
    ] {
        let mut snapshot = snapshot();
        snapshot.routes[0].allowlist = vec![settled().payer];
        if globally {
            (snapshot.routes[0].allowlist, snapshot.allowlist) = (vec![stranger()], vec![settled().payer]);
        }
        let signed_in = if globally { Some(settled().payer) } else { signed_in };
        assert_eq!(word(&World::new(), &snapshot, FREE, signed_in), want, "{signed_in:?}");
    }
}

#[test]
fn passthrough_needs_no_list() {
    let (his, nobodys) = (vec![settled().payer], Vec::new());
    for (globally, want) in [(nobodys, "passthrough"), (his, "allowlisted")] {
        let allowlist = globally;
        let snapshot = Snapshot { default_action: DefaultAction::Passthrough, allowlist, ..snapshot() };
        assert_eq!(word(&World::new(), &snapshot, NOWHERE, None), "passthrough");
        assert_eq!(word(&World::new(), &snapshot, NOWHERE, Some(settled().payer)), want);
    }
}

/// A payer gets again what he has paid for: this resource, for so long, and not what he got his money back for.
#[test]
fn re_entry() {
    const NOW_MS: u64 = NOW_S * 1_000;
    const WINDOW_MS: u64 = 60_000;
    type Event = fn(&mut Record);
    let payer = Some(settled().payer);
    type Row<'a> = (&'a str, u64, Option<Payer>, u64, Event, &'a str);
    let rows: [Row<'_>; 11] = [
        (URL, WINDOW_MS, payer, NOW_MS, |_| {}, "paid before"),
        (URL, WINDOW_MS, payer, NOW_MS - WINDOW_MS, |_| {}, "paid before"),
        (URL, WINDOW_MS, payer, NOW_MS - WINDOW_MS - 1, |_| {}, "asked to pay"),
        (URL, u64::MAX, payer, 0, |_| {}, "paid before"),
        (URL, 0, payer, NOW_MS, |_| {}, "asked to pay"),
        ("http://gate.test/paid?q=2", WINDOW_MS, payer, NOW_MS, |_| {}, "asked to pay"),
        (OTHER, WINDOW_MS, payer, NOW_MS, |_| {}, "asked to pay"),
        (URL, WINDOW_MS, Some(stranger()), NOW_MS, |_| {}, "asked to pay"),
        (URL, WINDOW_MS, None, NOW_MS, |_| {}, "asked to pay"),
        (URL, WINDOW_MS, payer, NOW_MS, |record| record.refund_due = true, "asked to pay"),
        (URL, WINDOW_MS, payer, NOW_MS, |record| record.state = BURNT, "asked to pay"),
    ];
    for (url, window_ms, signed_in, paid_at_ms, since, want) in rows {
        let mut snapshot = snapshot();
        snapshot.routes[1].reentry_ms = window_ms;
        let world = World::new();
        world.put(&payment(), posted(), AnswerState::Live);
        {
            let mut records = world.records.borrow_mut();
            records[0].hold.opened_at_ms = paid_at_ms;
            since(&mut records[0]);
        }
        assert_eq!(word(&world, &snapshot, url, signed_in), want, "{url} {window_ms} {signed_in:?} {paid_at_ms}");
    }
}

/// Whoever cannot look up what was paid asks nobody to pay, and lets nobody in.
#[test]
fn a_journal_that_cannot_be_read_is_a_fault() {
    let mut snapshot = Snapshot { fail_open: true, ..snapshot() };
    snapshot.routes[1].reentry_ms = 1;
    let world = World::new();
    world.fail("paid before");
    let got = word(&world, &snapshot, URL, Some(settled().payer));
    assert_eq!(got, "journal_unavailable (money: untouched)");
}

/// A payer who makes too many calls has nothing claimed, and what he has claimed before is told him all the same.
#[test]
fn a_payer_is_paced_before_anything_is_claimed() {
    for (settled_once, risky) in [(false, false), (true, false), (true, true)] {
        let world = World::new();
        let standing = Standing { settled: settled_once, risky };
        world.standing.set(standing);
        let header = payment().header();
        let (snapshot, asked) = (snapshot(), Cell::new(None));
        let call = found(&snapshot, &call(URL, Presented::Header(header.as_bytes())));
        let opened = now(rig(&world).open(&snapshot, &call, |payer, standing| {
            asked.set(Some((payer, standing)));
            false
        }));
        assert!(matches!(opened, Opened::TooMany), "{opened:?}");
        assert_eq!(asked.get(), Some((settled().payer, standing)));
        assert_eq!(world.calls(), "recall, standing");
        assert!(world.records.borrow().is_empty() && world.closes.borrow().is_empty());
        world.put(&payment(), posted(), AnswerState::Live);
        let opened = now(rig(&world).open(&snapshot, &call, |_, _| false));
        assert!(matches!(opened, Opened::Replay(Replay::AlreadyServed(_))), "{opened:?}");
    }
    // A signature that is not proven takes nothing from its payer's bucket.
    let header = payment().with(|p| p.key = STRANGER).header();
    let (world, snapshot) = (World::new(), snapshot());
    let call = found(&snapshot, &call(URL, Presented::Header(header.as_bytes())));
    let opened = now(rig(&world).open(&snapshot, &call, |_, _| panic!("an unproven payer is paced")));
    assert!(matches!(opened, Opened::Challenge { .. }), "{opened:?}");
}

/// Open is for those who verify and are out of reach. What is ours is not an outage of theirs, and a refusal is a refusal.
#[test]
fn failing_open() {
    let fault = |kind| Check::Fault(Fault::untouched(kind));
    let header = payment().header();
    for (check, fails, open, shut) in [
        (fault(FaultKind::Node), "", "unverified", "chain_unavailable (money: untouched)"),
        (fault(FaultKind::Facilitator), "", "unverified", "service_unavailable (money: untouched)"),
        (
            fault(FaultKind::Journal),
            "",
            "journal_unavailable (money: untouched)",
            "journal_unavailable (money: untouched)",
        ),
        (
            fault(FaultKind::Settlement),
            "",
            "settlement_unavailable (money: untouched)",
            "settlement_unavailable (money: untouched)",
        ),
        (fault(FaultKind::Invariant), "", "internal_error (money: untouched)", "internal_error (money: untouched)"),
        (
            fault(FaultKind::Node),
            "recall",
            "journal_unavailable (money: unknown)",
            "journal_unavailable (money: unknown)",
        ),
        (
            fault(FaultKind::Node),
            "standing",
            "journal_unavailable (money: untouched)",
            "journal_unavailable (money: untouched)",
        ),
        (Check::Refused(Refusal::InsufficientBalance), "", "challenge", "challenge"),
    ] {
        for (fail_open, want) in [(true, open), (false, shut)] {
            let (world, snapshot) = (World::new(), Snapshot { fail_open, ..snapshot() });
            world.check.set(check);
            if !fails.is_empty() {
                world.fail(fails);
            }
            let call = found(&snapshot, &call(URL, Presented::Header(header.as_bytes())));
            let got = match now(rig(&world).open(&snapshot, &call, |_, _| true)) {
                Opened::Free(pass) => pass_word(&pass).to_owned(),
                Opened::Challenge { .. } => "challenge".to_owned(),
                Opened::Fault(fault) => fault.to_string(),
                opened @ (Opened::Blocked
                | Opened::SignIn
                | Opened::TooMany
                | Opened::Permit(_)
                | Opened::Replay(_)) => panic!("{opened:?}"),
            };
            assert_eq!(got, want, "{check:?} {fails} {fail_open}");
            assert!(world.records.borrow().is_empty(), "nothing is claimed");
        }
    }
    // Nor does it open for whoever shows nothing, or what is no payment.
    let snapshot = Snapshot { fail_open: true, ..snapshot() };
    let world = World::new();
    world.check.set(fault(FaultKind::Node));
    for (header, want) in [(None, "payment_required"), (Some("e30="), "invalid_payload")] {
        let presented = header.map_or(Presented::Nothing, |header: &str| Presented::Header(header.as_bytes()));
        let got = open_word(&world, &snapshot, &call(URL, presented));
        assert!(got.starts_with("challenge"), "{got} {want}");
    }
    let forged = payment().with(|p| p.key = STRANGER).header();
    assert!(open_word(&world, &snapshot, &call(URL, Presented::Header(forged.as_bytes()))).starts_with("challenge"));
}
