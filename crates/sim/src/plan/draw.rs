//! A plan out of a seed.

use std::sync::Arc;

use alloy_primitives::{B256, U256};
use facilitator::engine::TabTerms;
use gate::{DefaultAction, Honoured, Pattern, Price, Route, Snapshot, Terms};
use ledger::{Exposure, Rail};
use protocol::exact::Fields;
use protocol::{Offer, OfferExtra, Payee};

use super::{Crash, ELSEWHERE, Faults, Moment, PAYEE, Payment, Plan, Request, SHARED, STRANGER, Stale, token};
use crate::chain::{Deed, Mining};
use crate::chance::Chance;
use crate::keys;
use crate::world::BEGIN_S;

const DIRECT_ATOMIC: u128 = 20_000;
const TAB_ATOMIC: u128 = 10_000;
const EARLIER_ATOMIC: u128 = 7_000;
/// How long callers come.
const CALLS_MS: u64 = 22_000;

impl Plan {
    /// Everything that a seed decides beforehand. The rest is drawn while it runs.
    pub(crate) fn draw(seed: u64) -> Self {
        let chance = &mut Chance::new(seed);
        let faults = faults(chance);
        let snapshot = snapshot(chance);
        let tab = tab(chance, snapshot.caps);
        let payers: Vec<u128> = (0..chance.between(1, keys::PAYERS_MAX as u64)).map(|_| balance(chance)).collect();
        let honoured = !snapshot.honoured.is_empty();
        let payments = payments(chance, payers.len(), honoured);
        let requests = requests(chance, &payments);
        let deeds = deeds(chance, &payments, payers.len());
        let crashes = crashes(chance);
        Self {
            faults,
            stale: stale(chance),
            mining: Mining {
                ours_max: chance.between(1, 6),
                lazy_per_mille: if chance.one_in(3) { 300 } else { 0 },
                loses_per_mille: if chance.one_in(3) { 150 } else { 0 },
                starves_per_mille: if chance.one_in(4) { 200 } else { 0 },
                gwei_max: if chance.one_in(3) { 12 } else { 2 },
            },
            block_ms: chance.between(1_000, 4_000),
            budget_ms: chance.between(3_000, 10_000),
            snapshot,
            tab,
            payers,
            payments,
            requests,
            deeds,
            crashes,
            rivals_per_mille: [0, 0, 0, 0, 0, 100, 300][chance.place(7)],
            censored: if chance.one_in(15) { (chance.below(30_000), 70_000 + chance.below(70_000)) } else { (0, 0) },
            node_away: windows(chance, 4),
            disk_away: windows(chance, 5),
            answers_max: if chance.one_in(6) { 1 } else { 100 },
            last_restart: chance.one_in(2),
            reorgs_per_mille: [0, 0, 50, 200, 500][chance.place(5)],
            branches_ms: if chance.one_in(4) { chance.between(1_000, 15_000) } else { 0 },
            lanes: if chance.one_in(3) { 2 } else { 1 },
        }
    }
}

fn faults(chance: &mut Chance) -> Faults {
    let mut level = |choices: [u64; 4]| choices[chance.place(4)];
    Faults {
        node_lost_per_mille: level([0, 0, 20, 120]),
        node_answer_per_mille: level([0, 0, 20, 120]),
        late_per_mille: level([0, 0, 100, 300]),
        twice_per_mille: level([0, 0, 100, 300]),
        stuck_per_mille: level([0, 0, 0, 150]),
        read_per_mille: level([0, 0, 5, 50]),
        before_commit_per_mille: level([0, 0, 10, 80]),
        after_commit_per_mille: level([0, 0, 10, 80]),
        hang_per_mille: level([0, 0, 0, 15]),
        commit_ms_max: level([3, 10, 30, 300]),
    }
}

fn stale(chance: &mut Chance) -> Stale {
    match chance.below(6) {
        0 => Stale::ManyNodes(2),
        1 | 2 => Stale::OneNode(3),
        _ => Stale::Never,
    }
}

fn offer(amount_atomic: u128, max_timeout_s: u64) -> Offer {
    Offer { asset_info: token(), amount_atomic, payee: Payee(PAYEE), max_timeout_s, extra: OfferExtra::default() }
}

fn direct_offer() -> Offer {
    offer(DIRECT_ATOMIC, 60)
}

fn tab_offer() -> Offer {
    offer(TAB_ATOMIC, 100)
}

fn snapshot(chance: &mut Chance) -> Arc<Snapshot> {
    let caps = match chance.below(5) {
        0 => Exposure { payer_micros: 20_000, source_micros: 30_000, gate_micros: 30_000 },
        1 => Exposure { payer_micros: 10_000, source_micros: 10_000, gate_micros: 20_000 },
        2 => Exposure { payer_micros: 30_000, source_micros: 1_000_000, gate_micros: 40_000 },
        _ => Exposure { payer_micros: 200_000, source_micros: 500_000, gate_micros: 1_000_000 },
    };
    let base = Snapshot {
        routes: routes(tab_offer()),
        default_action: DefaultAction::Block,
        allowlist: Vec::new(),
        fail_open: false,
        replay_wait_ms: chance.below(3) * 1_500,
        remaining_min_s: 12,
        tab_remaining_min_s: 30,
        caps,
        verify_local: chance.one_in(3),
        honoured: Vec::new(),
        identifier_required: false,
        skew_s: 5,
    };
    let honoured = chance.one_in(3).then(|| Honoured {
        snapshot: Arc::new(Snapshot { routes: routes(offer(EARLIER_ATOMIC, 100)), ..base.clone() }),
        until_ms: BEGIN_S * 1_000 + chance.between(5_000, 60_000),
    });
    Arc::new(Snapshot { honoured: honoured.into_iter().collect(), ..base })
}

fn routes(on_tab: Offer) -> Vec<Route> {
    let route = |path: &str, offer: Offer, rail| Route {
        id: path.to_owned(),
        pattern: Pattern::parse(path).expect("a path of ours"),
        method: None,
        price: Price::Due(Terms {
            exposure_micros: u64::try_from(offer.amount_atomic).unwrap_or(u64::MAX),
            offers: vec![offer],
            rail,
            settle_first: false,
            sells: None,
        }),
        allowlist: Vec::new(),
        reentry_ms: 0,
        passes: Vec::new(),
        pass_scope: None,
    };
    vec![route("/d/*", direct_offer(), Rail::Direct), route("/t/*", on_tab, Rail::Tab)]
}

fn tab(chance: &mut Chance, caps: Exposure) -> TabTerms {
    TabTerms {
        batch_max: usize::try_from(chance.between(1, 5)).unwrap_or(1),
        settle_age_ms: chance.between(3_000, 25_000),
        caps,
        margin_ms: 15_000,
    }
}

fn balance(chance: &mut Chance) -> u128 {
    [5_000, 25_000, 60_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000][chance.place(8)]
}

fn payments(chance: &mut Chance, payers: usize, honoured: bool) -> Vec<Payment> {
    let mut payments = Vec::new();
    let count = u8::try_from(chance.between(2, 8)).unwrap_or(2);
    for number in 0..count {
        let payer = chance.place(payers);
        let nonce = B256::repeat_byte(number + 1);
        let tab = chance.below(4) < 3;
        let earlier = honoured && chance.one_in(4);
        payments.push(payment(chance, payer, nonce, tab, earlier));
        if chance.one_in(8) {
            // The same nonce with other fields.
            payments.push(payment(chance, payer, nonce, tab, false));
        }
    }
    payments
}

fn payment(chance: &mut Chance, payer: usize, nonce: B256, tab: bool, earlier: bool) -> Payment {
    let (offer, validities, route) = match (tab, earlier) {
        (true, true) => (offer(EARLIER_ATOMIC, 100), [45, 60, 90, 100], "/t"),
        (true, false) => (tab_offer(), [25, 60, 90, 100], "/t"),
        (false, _) => (direct_offer(), [20, 40, 50, 60], "/d"),
    };
    let fields = Fields {
        from: keys::payer_address(payer),
        to: PAYEE,
        value: U256::from(offer.amount_atomic),
        valid_after: U256::from(if chance.one_in(4) { BEGIN_S - 1 } else { 0 }),
        valid_before: U256::from(BEGIN_S + validities[chance.place(4)]),
        nonce,
    };
    let (signature, header) = keys::sign(payer, &offer, &fields);
    Payment { fields, signature, header, route }
}

fn requests(chance: &mut Chance, payments: &[Payment]) -> Vec<Request> {
    let mut requests = Vec::new();
    // Everybody comes at once, or each when he likes.
    let rush_ms = chance.one_in(2).then(|| chance.below(CALLS_MS));
    for (place, payment) in payments.iter().enumerate() {
        let secret = chance.one_in(3).then(|| u8::try_from(chance.below(2)).unwrap_or(0));
        let first_ms = match rush_ms {
            Some(rush_ms) => rush_ms + chance.below(80),
            None => chance.below(CALLS_MS),
        };
        let copies = [1, 1, 1, 2, 2, 3, 4][chance.place(7)];
        for copy in 0..copies {
            let at_ms = match chance.below(3) {
                _ if copy == 0 => first_ms,
                0 => first_ms,
                1 => first_ms + chance.below(2_000),
                _ => first_ms + chance.below(20_000),
            };
            let page = if chance.one_in(8) { 1 } else { 0 };
            requests.push(Request {
                payment: place,
                at_ms,
                url: format!("http://gate.test{}/{page}", payment.route),
                secret: if chance.one_in(5) { Some(SHARED) } else { secret },
                source: u8::try_from(chance.below(2)).unwrap_or(0),
                patience_ms: if chance.one_in(4) { chance.below(6_000) } else { crate::run::PATIENT_MS },
                retries: [0, 1, 1, 2][chance.place(4)],
                greedy: chance.one_in(4),
            });
        }
    }
    requests.truncate(16);
    requests
}

fn deeds(chance: &mut Chance, payments: &[Payment], payers: usize) -> Vec<(u64, Deed)> {
    let mut deeds = Vec::new();
    for payment in payments {
        let at_ms = chance.below(CALLS_MS + 20_000);
        let data = payment.call();
        let deed = match chance.below(24) {
            0 | 1 => Deed::Land { by: data.from, data },
            2 => Deed::Land { by: STRANGER, data },
            3 => Deed::Cancel { payer: data.from, nonce: data.nonce },
            4 => {
                // The payer uses the nonce for something else.
                let fields = Fields { to: ELSEWHERE, value: U256::from(1), ..payment.fields };
                let payer = (0..payers).find(|payer| keys::payer_address(*payer) == fields.from).unwrap_or(0);
                let (signature, _) = keys::sign(payer, &direct_offer(), &fields);
                let other = Payment { fields, signature, ..payment.clone() };
                Deed::Land { by: data.from, data: other.call() }
            }
            _ => continue,
        };
        deeds.push((at_ms, deed));
    }
    for payer in (0..payers).map(keys::payer_address) {
        let at_ms = chance.below(CALLS_MS + 10_000);
        match chance.below(10) {
            0 | 1 => deeds.push((at_ms, Deed::Spend { payer, amount: 1_000_000 })),
            2 => deeds.push((at_ms, Deed::Block { payer })),
            3 => deeds.push((at_ms, Deed::Fund { payer, amount: 15_000 })),
            _ => {}
        }
    }
    deeds
}

fn crashes(chance: &mut Chance) -> Vec<Crash> {
    let count = [0, 0, 1, 1, 2, 3][chance.place(6)];
    let moments =
        [Moment::Reserve, Moment::Answer, Moment::Submit, Moment::Submit, Moment::Pend, Moment::Keep, Moment::Send];
    let mut crash = || Crash {
        after_ms: chance.below(CALLS_MS),
        moment: chance.one_in(2).then(|| moments[chance.place(moments.len())]),
        polls: chance.below(60),
    };
    (0..count).map(|_| crash()).collect()
}

fn windows(chance: &mut Chance, one_in: u64) -> Vec<(u64, u64)> {
    let from = chance.below(CALLS_MS + 10_000);
    let window = (from, from + chance.between(500, 12_000));
    if chance.one_in(one_in) { vec![window] } else { Vec::new() }
}
